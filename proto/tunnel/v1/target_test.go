package tunnelv1_test

import (
	"net"
	"net/url"
	"strings"
	"testing"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"
)

func TestCheckTarget(t *testing.T) {
	t.Parallel()
	at := func(host, path string) *tunnelv1.Target {
		return &tunnelv1.Target{Scheme: "http", Host: host, Port: 80, Path: path}
	}
	for _, target := range []*tunnelv1.Target{
		{Scheme: "self"}, at("localhost", "/metrics"), at("my_app.svc.", "/"), at("127.0.0.1", ""), at("::1", "/"),
		at("fe80::1%eth0", "/"), at("xn--bcher-kva.example", "/a//b/%2F/[1]"), {Scheme: "https", Host: "h", Port: 65535, Path: "/a;b=c'd"},
	} {
		if err := tunnelv1.CheckTarget(target); err != nil {
			t.Errorf("%v: %v", target, err)
		}
	}
	for _, target := range []*tunnelv1.Target{
		nil, {Scheme: "file", Host: "h", Port: 1}, {Scheme: "http", Host: "h"}, {Scheme: "http", Host: "h", Port: 65536}, {Scheme: "http", Port: 1},
		{Scheme: "self", Host: "h"}, {Scheme: "self", Path: "/"}, at(strings.Repeat("a", 256), "/"), at("h", "/"+strings.Repeat("a", 2048)),
		at("a@evil", "/"), at("a\x1b[2J", "/"), at("a b", "/"), at("h[1-100000000]", "/"), at("{a,b}", "/"), at("\u202e", "/"), at("ev\u0456l", "/"),
		at("x/../", "/"), at("x?", "/"), at("x#", "/"), at(`x\`, "/"), at("`id`", "/"), at("'x'", "/"), at(`"x"`, "/"),
		at("a:80", "/"), at("[::1]", "/"), at("a%40evil", "/"), at("fe80::1%a b", "/"), at("fe80::1%@evil", "/"), at("\xff", "/"),
		at("$(id)", "/"), at("a;id", "/"), at("a|id", "/"), at("*", "/"), at("fe80::1%$(id)", "/"),
		at("h", "/`id`"), at("h", "/{a,b}"), at("h", "/?hidden=1"), at("h", "/#hidden"), at("h", `/\`), at("h", "/a|b"),
		at("h", "metrics"), at("h", "http://evil/"), at("h", "/a b"), at("h", "/\u009b"), at("h", "/%zz"), at("h", "@evil/"),
	} {
		if tunnelv1.CheckTarget(target) == nil {
			t.Errorf("%+v passes", target)
		}
	}
}

// A target that passes is one URL, and its host is the one that is claimed.
func FuzzCheckTarget(f *testing.F) {
	for _, seed := range []string{"localhost", "a@b", "::1", "fe80::1%eth0", "a:1", "%25", "a%zz"} {
		f.Add(seed, "/metrics")
	}
	f.Fuzz(func(t *testing.T, host, path string) {
		if tunnelv1.CheckTarget(&tunnelv1.Target{Scheme: "http", Host: host, Port: 81, Path: path}) != nil {
			return
		}
		u, err := url.Parse("http://" + strings.ReplaceAll(net.JoinHostPort(host, "81"), "%", "%25") + path)
		if err != nil {
			return // a name that only some resolvers take
		}
		if u.Hostname() != host || u.Port() != "81" || u.User != nil {
			t.Errorf("%q and %q are at %q, port %s", host, path, u.Hostname(), u.Port())
		}
	})
}
