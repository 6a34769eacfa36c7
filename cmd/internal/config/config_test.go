package config_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-951114d4/sallyport/cmd/internal/config"
)

type level string

type pairs map[string]string

func (p *pairs) UnmarshalText(text []byte) error {
	key, value, ok := strings.Cut(string(text), "=")
	if !ok {
		return errors.New("want key=value")
	}
	*p = pairs{key: value}
	return nil
}

type size int64

type sub struct {
	CertFile string `env:"CERT_FILE" help:"a certificate"`
}

type sample struct {
	Addrs   []string      `env:"PROXY_ADDRS,required" help:"addresses"`
	Addr    string        `env:"SCRAPE_ADDR" envDefault:":8443" help:"where | what"`
	Wait    time.Duration `env:"WAIT" envDefault:"2m" help:"how long"`
	Most    size          `env:"MAX_BYTES" envDefault:"64MiB" unit:"bytes" help:"how much"`
	Count   int           `env:"COUNT" envDefault:"16" help:"how many"`
	Level   level         `env:"LEVEL" envDefault:"info" help:"how loud"`
	Pairs   pairs         `env:"PAIRS" help:"pairs"`
	Name    string        `env:"NAME" default:"host name" help:"a name"`
	Token   time.Duration `env:"TOKEN" secret:"true" help:"pretend that it is secret"`
	Socket  string        `env:"SPIFFE_ENDPOINT_SOCKET" noprefix:"true" help:"the Workload API"`
	Tunnel  sub           `envPrefix:"TLS_"`
	Scrape  sub           `envPrefix:"SCRAPE_TLS_"`
	Version string        // not from the environment
	Inner   sub           `env:"-"`
}

func faultLines(f *config.Faults) []string {
	if f.Err() == nil {
		return nil
	}
	return strings.Split(f.Err().Error(), "\n")
}

func TestLoad(t *testing.T) {
	t.Parallel()
	var got sample
	faults := config.Load([]string{
		"HOME=/root", "SALLYPORT_PROXY_ADDRS=a:1, b:2", "SALLYPORT_MAX_BYTES=5MB", "SALLYPORT_LEVEL=",
		"SALLYPORT_PAIRS=a=b=c", "SPIFFE_ENDPOINT_SOCKET=unix:///x", "SALLYPORT_TLS_CERT_FILE=t.pem",
		"SALLYPORT_SCRAPE_TLS_CERT_FILE=s.pem", "SALLYPORT_TOKEN=3s",
	}, &got)
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	switch {
	case !slices.Equal(got.Addrs, []string{"a:1", "b:2"}):
		t.Errorf("addresses %q", got.Addrs)
	case got.Addr != ":8443" || got.Wait != 2*time.Minute || got.Most != 5e6 || got.Count != 16:
		t.Errorf("got %+v", got)
	case got.Level != "info":
		t.Errorf("set but empty: level %q, want the default", got.Level)
	case got.Pairs["a"] != "b=c" || got.Socket != "unix:///x" || got.Token != 3*time.Second:
		t.Errorf("got %+v", got)
	case got.Tunnel.CertFile != "t.pem" || got.Scrape.CertFile != "s.pem":
		t.Errorf("got %+v", got)
	}
}

func TestEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	var got sample
	faults := config.Load([]string{
		"SALLYPORT_WAIT=10", "SALLYPORT_MAX_BYTES=64", "SALLYPORT_COUNT=many", "SALLYPORT_PAIRS=x",
		"SALLYPORT_TOKEN=" + secret, "SALLYPORT_SCRAPE_ADRR=:1",
	}, &got)
	// What a package's Validate says besides: of a variable that did not parse
	// it judges the default, and that is no news.
	faults.Add(errors.Join(
		errors.New("SALLYPORT_COUNT: 16 is too many"),
		errors.New("SALLYPORT_PROXY_ADDRS: no address"),
		errors.New("SALLYPORT_LEVEL: first"),
		errors.Join(errors.New("SALLYPORT_LEVEL: second"), errors.New("nobody's: fault")),
	))
	faults.Add(nil)
	want := []string{
		"SALLYPORT_PROXY_ADDRS: required, and not set",
		`SALLYPORT_WAIT: "10", want a duration with its unit, as in 10s or 2m`,
		`SALLYPORT_MAX_BYTES: "64", want a whole number with its unit, as in 64MiB or 1GB`,
		`SALLYPORT_COUNT: "many", want a whole number`,
		"SALLYPORT_PAIRS: want key=value",
		"SALLYPORT_TOKEN: malformed (its value is secret and not shown)",
		"SALLYPORT_SCRAPE_ADRR: unknown variable, did you mean SALLYPORT_SCRAPE_ADDR?",
		"SALLYPORT_LEVEL: first",
		"SALLYPORT_LEVEL: second",
		"nobody's: fault",
	}
	lines := faultLines(faults)
	if !slices.Equal(lines, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if strings.Contains(faults.Err().Error(), secret) {
		t.Error("a secret is in the message")
	}
	if got.Count != 16 || got.Wait != 2*time.Minute {
		t.Errorf("faulty variables lost their defaults: %+v", got)
	}
}

func TestByteSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"1B": 1, "512KiB": 512 << 10, "64MiB": 64 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40,
		"1kB": 1e3, "1KB": 1e3, "3MB": 3e6, "1GB": 1e9, "1TB": 1e12, "64 MiB": 64 << 20, "0B": 0,
	} {
		var got sample
		faults := config.Load([]string{"SALLYPORT_PROXY_ADDRS=a:1", "SALLYPORT_MAX_BYTES=" + text}, &got)
		if faults.Err() != nil || int64(got.Most) != want {
			t.Errorf("%s: got %d, %v", text, got.Most, faults.Err())
		}
	}
	for _, text := range []string{
		"64", "MiB", "-1MiB", "1.5MiB", "64mib", "64M", "64Mi", "1e3B", "+1B", "0x1B", "9999999TiB", "99999999999999999999B", "1MiBB",
	} {
		var got sample
		faults := config.Load([]string{"SALLYPORT_PROXY_ADDRS=a:1", "SALLYPORT_MAX_BYTES=" + text}, &got)
		if faults.Err() == nil {
			t.Errorf("%s: taken as %d", text, got.Most)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]string{
		"SALLYPORT_SCRAPE_ADRR=x":     "SALLYPORT_SCRAPE_ADDR?",
		"SALLYPORT_SRCAPE_ADDR=x":     "SALLYPORT_SCRAPE_ADDR?",
		"SALLYPORT_SCRAPE_CERT=x":     "did you mean",
		"sallyport_scrape_addr=x":     "SALLYPORT_SCRAPE_ADDR?",
		"SALLYPORT_TLS_CERTFILE=x":    "SALLYPORT_TLS_CERT_FILE?",
		"SALLYPORT_SCRAPE_ADRR=":      "SALLYPORT_SCRAPE_ADDR?",
		"SALLYPORT_XQZ=x":             "unknown variable",
		"SALLYPORT_SCRAPE_PORT=8443":  "unknown variable",
		"SALLYPORT_PORT=8443":         "unknown variable",
		"SALLYPORT_SPIFFE_ENDPOINT=x": "unknown variable",
	} {
		var got sample
		lines := faultLines(config.Load([]string{"SALLYPORT_PROXY_ADDRS=a:1", entry}, &got))
		if len(lines) != 1 || !strings.Contains(lines[0], want) {
			t.Errorf("%s: got %q, want one fault with %q", entry, lines, want)
		}
	}
	// Nothing is near, so nothing is suggested.
	var got sample
	lines := faultLines(config.Load([]string{"SALLYPORT_PROXY_ADDRS=a:1", "SALLYPORT_QWERTZUIOPLKJHGFDSA=x"}, &got))
	if len(lines) != 1 || strings.Contains(lines[0], "mean") {
		t.Errorf("got %q", lines)
	}
}

// What the other program would read is not a typing error.
func TestVariablesOfAnotherProgram(t *testing.T) {
	t.Parallel()
	var got sample
	others := map[string]string{"SALLYPORT_SCRAPE_ADDRS": "the other", "SALLYPORT_WAIT": "the other"}
	lines := faultLines(config.LoadBeside([]string{"SALLYPORT_PROXY_ADDRS=a:1", "SALLYPORT_SCRAPE_ADDRS=x", "SALLYPORT_WAIT=1s"}, others, &got))
	if want := []string{"SALLYPORT_SCRAPE_ADDRS: is a variable of the other, which this is not"}; !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}

func TestKubernetesServiceVariables(t *testing.T) {
	t.Parallel()
	environ := []string{"SALLYPORT_PROXY_ADDRS=a:1"}
	for _, service := range []string{"SALLYPORT", "SALLYPORT_PROXY", "SALLYPORT_SCRAPE", "SALLYPORT_TLS_2"} {
		environ = append(environ,
			service+"_SERVICE_HOST=10.96.0.7",
			service+"_SERVICE_PORT=8443",
			service+"_SERVICE_PORT_HTTPS_METRICS=8443",
			service+"_PORT=tcp://10.96.0.7:8443",
			service+"_PORT_8443_TCP=tcp://10.96.0.7:8443",
			service+"_PORT_8443_TCP_PROTO=tcp",
			service+"_PORT_8443_TCP_PORT=8443",
			service+"_PORT_8443_TCP_ADDR=10.96.0.7",
			service+"_PORT_53_UDP=udp://10.96.0.7:53",
		)
	}
	var got sample
	if err := config.Load(environ, &got).Err(); err != nil {
		t.Error(err)
	}
}

func TestHelpAndTable(t *testing.T) {
	t.Parallel()
	var help, table strings.Builder
	if err := config.Help(&help, &sample{}); err != nil {
		t.Fatal(err)
	}
	if err := config.Table(&table, &sample{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  SALLYPORT_PROXY_ADDRS  (required)\n      addresses\n",
		"  SALLYPORT_MAX_BYTES  (default: 64MiB)\n      how much\n",
		"  SALLYPORT_NAME  (default: host name)\n",
		"  SPIFFE_ENDPOINT_SOCKET\n      the Workload API\n",
		"  SALLYPORT_SCRAPE_TLS_CERT_FILE\n",
	} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("help lacks %q:\n%s", want, help.String())
		}
	}
	for _, want := range []string{
		"| variable | default | meaning |\n|---|---|---|\n",
		"| `SALLYPORT_PROXY_ADDRS` | required | addresses |\n",
		"| `SALLYPORT_SCRAPE_ADDR` | `:8443` | where \\| what |\n",
		"| `SALLYPORT_NAME` | host name | a name |\n",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, table.String())
		}
	}
	if got := len(config.Variables(&sample{})); strings.Count(table.String(), "\n") != got+2 {
		t.Errorf("%d variables in:\n%s", got, table.String())
	}
}

func TestMistakenTagsPanic(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]any{
		"no help": &struct {
			A string `env:"A"`
		}{},
		"one variable twice": &struct {
			A string `env:"A" help:"a"`
			B string `env:"A" help:"b"`
		}{},
		"option": &struct {
			A string `env:"A,unset" help:"a"`
		}{},
		"default": &struct {
			A int `env:"A" envDefault:"x" help:"a"`
		}{},
		"no pointer": sample{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			config.Load(nil, s)
		}()
	}
}

func FuzzByteSize(f *testing.F) {
	for _, text := range []string{"64MiB", "1GB", "0B", "18446744073709551615B", " 1 KiB", "-1B"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" || strings.ContainsRune(text, 0) {
			return
		}
		var got sample
		faults := config.Load([]string{"SALLYPORT_PROXY_ADDRS=a:1", "SALLYPORT_MAX_BYTES=" + text}, &got)
		if got.Most < 0 {
			t.Errorf("%q: %d bytes", text, got.Most)
		}
		if lines := faultLines(faults); len(lines) > 1 {
			t.Errorf("%q: a fault of several lines: %q", text, lines)
		}
	})
}
