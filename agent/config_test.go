package agent_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	tunnelv1 "github.com/seed-951114d4/sallyport/proto/tunnel/v1"

	"github.com/seed-951114d4/sallyport/agent"
)

func validConfig() agent.Config {
	return agent.Config{
		ProxyAddrs:           []string{"proxy.example:50051", "[::1]:50051"},
		Targets:              agent.Targets{{Path: "/a", URL: "http://127.0.0.1:9100/metrics"}},
		MaxConcurrentScrapes: agent.DefaultMaxConcurrentScrapes,
		MaxResponseBytes:     agent.DefaultMaxResponseBytes,
	}
}

// wantFaults holds the lines of err to patterns, one each and in order.
func wantFaults(t *testing.T, err error, patterns ...string) {
	t.Helper()
	var lines []string
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	ok := len(lines) == len(patterns)
	for i := range min(len(lines), len(patterns)) {
		ok = ok && regexp.MustCompile("^"+patterns[i]+"$").MatchString(lines[i])
	}
	if !ok {
		t.Errorf("faults:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(patterns, "\n"))
	}
}

func TestConfigIsValid(t *testing.T) {
	cfg := validConfig()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.Targets, cfg.TargetsFile = nil, "/somewhere"
	if err := cfg.Validate(); err != nil {
		t.Errorf("with a file alone: %v", err)
	}
}

func TestConfigTellsEveryFaultAtOnce(t *testing.T) {
	wantFaults(t, agent.Config{}.Validate(),
		`SALLYPORT_PROXY_ADDRS: no address, want host:port`,
		`SALLYPORT_TARGETS: no target: set this or SALLYPORT_TARGETS_FILE`,
		`SALLYPORT_MAX_CONCURRENT_SCRAPES: 0 is not between 1 and 1024`,
		`SALLYPORT_MAX_RESPONSE_BYTES: 0 is not between 1 byte and 1 TiB`,
	)
	cfg := validConfig()
	cfg.ProxyAddrs = []string{"a", ":1", "a:0", "a:b", "a:1", "a:1", "a b:1", "https://a:1", "a:99999"}
	cfg.Name = "a\nb"
	cfg.Targets = agent.Targets{{Path: "/a", URL: "http://u:hunter2@a/"}, {Path: "b", URL: "ftp://b"}, {Path: "/me", URL: "self", Params: []string{"x"}}}
	cfg.MaxConcurrentScrapes = 1025
	cfg.MaxResponseBytes = 1<<40 + 1
	cfg.Software = strings.Repeat("x", 65)
	cfg.DrainTimeout = -time.Second
	wantFaults(t, cfg.Validate(),
		`SALLYPORT_PROXY_ADDRS: "a": not host:port`,
		`SALLYPORT_PROXY_ADDRS: ":1": no host`,
		`SALLYPORT_PROXY_ADDRS: "a:0": the port is not .*`,
		`SALLYPORT_PROXY_ADDRS: "a:b": the port is not .*`,
		`SALLYPORT_PROXY_ADDRS: "a:1": given twice`,
		`SALLYPORT_PROXY_ADDRS: "a b:1": the host has .*`,
		`SALLYPORT_PROXY_ADDRS: "https://a:1": not host:port`,
		`SALLYPORT_PROXY_ADDRS: "a:99999": the port is not .*`,
		`SALLYPORT_AGENT_NAME: not a printable text of at most 255 bytes`,
		`SALLYPORT_TARGETS: /a: url: holds a user name or a password: .*`,
		`SALLYPORT_TARGETS: target 2: the path does not begin with /`,
		`SALLYPORT_TARGETS: target 2: url: is neither http nor https, nor self`,
		`SALLYPORT_TARGETS: /me: url: self takes no params, tls, basic_auth or authorization`,
		`SALLYPORT_MAX_CONCURRENT_SCRAPES: 1025 is not between 1 and 1024`,
		`SALLYPORT_MAX_RESPONSE_BYTES: 1099511627777 is not between .*`,
		`software is not .*`,
		`drain timeout is negative`,
	)
}

func TestTargetsFromText(t *testing.T) {
	for text, want := range map[string]agent.Targets{
		"":            nil,
		" ,\n, ":      nil,
		"/a=http://x": {{Path: "/a", URL: "http://x"}},
		"/a=http://x,/b=http://y/?q=1\n/c=https://z": {{Path: "/a", URL: "http://x"}, {Path: "/b", URL: "http://y/?q=1"}, {Path: "/c", URL: "https://z"}},
		" /a = http://x ,\r\n":                       {{Path: "/a", URL: "http://x"}},
		"/a=http://x/?q=1,2":                         {{Path: "/a", URL: "http://x/?q=1"}, {Path: "2"}},
		"=":                                          {{}},
	} {
		var got agent.Targets
		if err := got.UnmarshalText([]byte(text)); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q gives %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestTargetsTellEveryFault(t *testing.T) {
	for name, tt := range map[string]struct {
		targets agent.Targets
		faults  []string
	}{
		"text":         {text("/a=http://x,/b,token=s3cret,/a=http://y,/c="), []string{`/b: url: none given`, `target 3: the path does not begin with /`, `target 3: url: is neither .*`, `/a: given twice: target 1 and target 4`, `/c: url: none given`}},
		"user":         {text("/a=http://s3cret@x"), []string{`/a: url: holds a user name or a password: .*`}},
		"fragment":     {text("/a=http://x/#s3cret,/b=http://x/#"), []string{`/a: url: has a fragment`, `/b: url: has a fragment`}},
		"no host":      {text("/a=http:///s3cret,/b=http:s3cret,/c=http://:80/"), []string{`/a: url: has no host`, `/b: url: has no host`, `/c: url: has no host`}},
		"strange host": {text("/a=http://%ff/"), []string{`/a: url: has a host with characters .*`}},
		"no claim": {text("/a=http://a\"b/,/b=http://h[1-9]/,/c=http://a%25b/,/d=http://x/" + strings.Repeat("{", 1000)), []string{
			`/a: url: the target's host has characters that no host has`, `/b: url: .*`, `/c: url: the target's host .*`, `/d: url: the target is too long`,
		}},
		"ports":         {text("/a=http://x:0,/b=http://x:65536,/c=http://x:s3cret,/d=http://x:"), []string{`/a: url: has a port .*`, `/b: url: has a port .*`, `/c: url: does not parse`, `/d: url: has an empty port`}},
		"space":         {text("/a=http://x/s3 cret"), []string{`/a: url: has a space or .*`}},
		"query":         {text("/a=http://x/?s3cret=%zz"), []string{`/a: url: has a malformed query`}},
		"long":          {text("/a=http://x/" + strings.Repeat("a", 2048)), []string{`/a: url: longer than 2048 bytes`}},
		"reserved":      {text("/-/a=http://x,/metrics=http://x,/debug/x=http://x"), []string{`target 1: .*`, `target 2: .*`, `target 3: .*`}},
		"labels":        {agent.Targets{{Path: "/a", URL: "http://x", Labels: map[string]string{"job": "x", "__a": "x", "a-b": "x", "ok": "x", "bad": "\xff", "long": strings.Repeat("x", 8<<10)}}}, []string{`/a: labels: .*__a.*`, `/a: labels: .*a-b.*`, `/a: labels: the value of the label bad is not UTF-8`, `/a: labels: .*job.*`, `/a: labels: the route's labels have 8196 bytes, more than 8192`}},
		"many labels":   {agent.Targets{{Path: "/a", URL: "http://x", Labels: manyLabels(33)}}, []string{`/a: labels: the route has 33 labels, more than 32`}},
		"params":        {agent.Targets{{Path: "/a", URL: "http://x/?own=1", Params: []string{"ok", "", "ok", "own", "a\nb"}}}, []string{`/a: params: number 2 is not .*`, `/a: params: "ok" is given twice`, `/a: params: "own" is set by the url`, `/a: params: number 5 is not .*`}},
		"TLS":           {agent.Targets{{Path: "/a", URL: "http://x", TLS: &agent.TargetTLS{CertFile: "x", ServerName: "a b"}}}, []string{`/a: tls: the url is not https`, `/a: tls: cert_file and key_file go together`, `/a: tls: the server_name has .*`}},
		"credentials":   {agent.Targets{{Path: "/a", URL: "http://x", BasicAuth: &agent.BasicAuth{}, Authorization: &agent.Authorization{}}}, []string{`/a: basic_auth: the username .*`, `/a: basic_auth: no password_file`, `/a: authorization: no credentials_file`, `/a: basic_auth and authorization exclude each other`}},
		"user name":     {agent.Targets{{Path: "/a", URL: "http://x", BasicAuth: &agent.BasicAuth{Username: "a:b", PasswordFile: "x"}}}, []string{`/a: basic_auth: the username .*`}},
		"nothing wrong": {text("/a=http://x,/A=https://x:1/y?z=1&z=2,/a/b=http://[::1]:9100"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.targets.Validate()
			wantFaults(t, err, tt.faults...)
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("a secret is told: %v", err)
			}
		})
	}
}

func TestTargetsAreNotTooMany(t *testing.T) {
	targets := make(agent.Targets, 10_001)
	wantFaults(t, targets.Validate(), `10001 targets, at most 10000`)
}

func TestTargetsAreListedWithoutSecrets(t *testing.T) {
	cfg := validConfig()
	cfg.Targets = text("/b=https://[::1]/probe?token=s3cret,/a=http://x:9100/metrics")
	a, err := agent.New(cfg, agent.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	want := []agent.TargetInfo{{Path: "/a", URL: "http://x:9100/metrics"}, {Path: "/b", URL: "https://[::1]:443/probe"}}
	if got := a.Targets(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func text(s string) agent.Targets {
	var t agent.Targets
	if err := t.UnmarshalText([]byte(s)); err != nil {
		panic(err)
	}
	return t
}

func manyLabels(n int) map[string]string {
	labels := make(map[string]string)
	for i := range n {
		labels[fmt.Sprintf("l%d", i)] = "x"
	}
	return labels
}

// Whatever text passes makes targets that an agent can offer, each path once.
func FuzzTargetsFromText(f *testing.F) {
	for _, seed := range []string{"/a=http://x", "/a=http://x:1/y?z=1,/b=https://[::1]", "/a=http://u:p@x#y", "=,\n=", "/../a=http://x", "/a=http://x/%zz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		targets := text(s)
		if targets.Validate() != nil {
			return
		}
		var paths []string
		for _, target := range targets {
			if err := tunnelv1.CheckPath(target.Path); err != nil {
				t.Errorf("%q passes with the path %q", s, target.Path)
			}
			paths = append(paths, target.Path)
		}
		if slices.Sort(paths); len(slices.Compact(paths)) != len(targets) {
			t.Errorf("%q passes with a path twice", s)
		}
		checkOffer(t, targets)
	})
}

// checkOffer makes an agent of targets and looks at what it would offer.
func checkOffer(t *testing.T, targets agent.Targets) {
	t.Helper()
	cfg := validConfig()
	cfg.Targets = targets
	if len(targets) == 0 {
		return
	}
	a, err := agent.New(cfg, agent.Parts{})
	if err != nil {
		t.Fatalf("valid targets make no agent: %v", err)
	}
	for _, route := range agent.Offer(a) {
		target := route.GetTarget()
		if target.GetScheme() != "http" && target.GetScheme() != "https" || target.GetHost() == "" || target.GetPort() == 0 || target.GetPath() == "" {
			t.Errorf("the offer is %v", route)
		}
	}
}
