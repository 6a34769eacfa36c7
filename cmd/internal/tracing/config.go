// Package tracing sends the spans that the daemons make of scrapes to a collector, by
// OTLP, as OpenTelemetry's own environment variables say. It is the one place that knows
// the SDK; the libraries know a trace.Tracer. It is off unless it is asked for, and then
// there is no Tracer.
//
// The variables are read here and handed to the SDK as options, so that what is wrong
// with one is a fault in the configuration and not a line that nobody reads. The SDK reads
// them as well, those too that another one wins over, and its lines about them would show
// values that are secret: it is told to be silent.
package tracing

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config says what is traced, and where it goes. Where OpenTelemetry has a variable for
// traces alone besides the one for all that it sends, the former wins.
type Config struct {
	Exporter          string `env:"OTEL_TRACES_EXPORTER" noprefix:"true" envDefault:"none" help:"where the spans of scrapes go: none (nothing is traced, at no cost) or otlp"`
	Disabled          bool   `env:"OTEL_SDK_DISABLED" noprefix:"true" envDefault:"false" help:"true turns tracing off, whatever else is set"`
	Endpoint          string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" noprefix:"true" default:"port 4318 (grpc: 4317) of localhost" help:"URL of the collector, http or https; with http/protobuf, /v1/traces is appended"`
	TracesEndpoint    string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" noprefix:"true" help:"the same, and nothing is appended; this one wins"`
	Protocol          string `env:"OTEL_EXPORTER_OTLP_PROTOCOL" instead:"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" noprefix:"true" envDefault:"http/protobuf" help:"http/protobuf or grpc"`
	Headers           string `env:"OTEL_EXPORTER_OTLP_HEADERS" instead:"OTEL_EXPORTER_OTLP_TRACES_HEADERS" noprefix:"true" secret:"true" help:"headers to send, as name=value,…, such as a credential; only over https, or to this machine"`
	Certificate       string `env:"OTEL_EXPORTER_OTLP_CERTIFICATE" instead:"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE" noprefix:"true" default:"the system's" help:"trust anchors for the collector, PEM"`
	ClientCertificate string `env:"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" instead:"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE" noprefix:"true" help:"certificate chain to show the collector, PEM; read again for each connection"`
	ClientKey         string `env:"OTEL_EXPORTER_OTLP_CLIENT_KEY" instead:"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY" noprefix:"true" help:"its key"`
	Timeout           int    `env:"OTEL_EXPORTER_OTLP_TIMEOUT" instead:"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT" noprefix:"true" envDefault:"10000" help:"milliseconds that sending may take"`
	Compression       string `env:"OTEL_EXPORTER_OTLP_COMPRESSION" instead:"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION" noprefix:"true" envDefault:"none" help:"gzip or none"`
	Service           string `env:"OTEL_SERVICE_NAME" noprefix:"true" default:"the program's" help:"the name of the service that the spans are of"`
	Resource          string `env:"OTEL_RESOURCE_ATTRIBUTES" noprefix:"true" help:"attributes of whatever this daemon is, as key=value,…"`
	Sampler           string `env:"OTEL_TRACES_SAMPLER" noprefix:"true" envDefault:"parentbased_always_on" help:"which scrapes are traced: always_on, always_off or traceidratio; with parentbased_ before it the scraper's traceparent decides, where it sends one, and at an agent the proxy's"`
	SamplerArg        string `env:"OTEL_TRACES_SAMPLER_ARG" noprefix:"true" default:"1" help:"of traceidratio: the share of scrapes, from 0 to 1"`
	Bounds            Bounds
}

// The protocols.
const (
	overHTTP = "http/protobuf"
	overGRPC = "grpc"
)

// On says whether anything is traced.
func (c Config) On() bool { return c.Exporter == "otlp" && !c.Disabled }

// Validate reports every fault at once, each naming its variable. What is off is not
// judged, but for the switches.
func (c Config) Validate() error {
	if c.Exporter != "otlp" && c.Exporter != "none" {
		return fmt.Errorf("OTEL_TRACES_EXPORTER: %.32q is neither otlp nor none", c.Exporter)
	}
	if !c.On() {
		return nil
	}
	var faults []error
	for _, choice := range []struct {
		variable, value string
		of              []string
	}{
		{"OTEL_EXPORTER_OTLP_PROTOCOL", c.Protocol, []string{overHTTP, overGRPC}},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", c.Compression, []string{"gzip", "none"}},
		{"OTEL_TRACES_SAMPLER", c.Sampler, samplers},
	} {
		faults = append(faults, oneOf(choice.variable, choice.value, choice.of))
	}
	if c.Timeout < 1 || c.Timeout > 600_000 {
		faults = append(faults, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT: %d is not from 1 to 600000 milliseconds", c.Timeout))
	}
	_, ratio := c.ratio()
	_, attributes := c.attributes()
	headers, malformed := c.headers()
	endpoint, unusable := c.endpoint()
	faults = append(faults, ratio, attributes, malformed, unusable, c.Bounds.validate())
	if unusable == nil {
		faults = append(faults, c.checkPlain(endpoint, len(headers) > 0))
	}
	_, files := c.tls()
	return errors.Join(append(faults, files)...)
}

func oneOf(variable, value string, of []string) error {
	for _, word := range of {
		if value == word {
			return nil
		}
	}
	return fmt.Errorf("%s: %.32q is none of %s", variable, value, strings.Join(of, ", "))
}

// endpoint is the URL that spans are sent to.
func (c Config) endpoint() (*url.URL, error) {
	variable, text := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.TracesEndpoint
	if text == "" {
		variable, text = "OTEL_EXPORTER_OTLP_ENDPOINT", c.Endpoint
	}
	if text == "" {
		text = "http://localhost:4318"
		if c.Protocol == overGRPC {
			text = "http://localhost:4317"
		}
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New(variable + ": want the URL of a collector, as in https://collector:4318") // it may hold a password
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New(variable + ": has a user, a query or a fragment: credentials go into OTEL_EXPORTER_OTLP_HEADERS")
	case c.Protocol == overGRPC && strings.Trim(u.Path, "/") != "":
		return nil, errors.New(variable + ": has a path, which gRPC has no place for")
	}
	if c.TracesEndpoint == "" && c.Protocol == overHTTP {
		u = u.JoinPath("v1/traces")
	}
	return u, nil
}

// checkPlain refuses to send in the open what is meant to be secret, or by TLS what is
// said to be none.
func (c Config) checkPlain(endpoint *url.URL, headers bool) error {
	if endpoint.Scheme == "https" {
		return nil
	}
	if c.Certificate != "" || c.ClientCertificate != "" || c.ClientKey != "" {
		return errors.New("OTEL_EXPORTER_OTLP_ENDPOINT: is http, and there are certificates for it: want https")
	}
	if headers && !thisMachine(endpoint.Hostname()) {
		return errors.New("OTEL_EXPORTER_OTLP_HEADERS: would be sent unencrypted to another machine: OTEL_EXPORTER_OTLP_ENDPOINT wants https")
	}
	return nil
}

func thisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// headers are those to send.
func (c Config) headers() (map[string]string, error) {
	headers := make(map[string]string)
	for name, value := range pairs(c.Headers) {
		decoded, err := url.PathUnescape(value)
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) || err != nil {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS: want name=value,…, percent-encoded (its value is secret and not shown)")
		}
		headers[name] = strings.TrimSpace(decoded)
	}
	return headers, nil
}

// attributes are those of the resource.
func (c Config) attributes() (map[string]string, error) {
	attributes := make(map[string]string)
	for key, value := range pairs(c.Resource) {
		decoded, err := url.PathUnescape(value)
		if key == "" || err != nil {
			return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES: want key=value,…, percent-encoded")
		}
		attributes[key] = decoded
	}
	return attributes, nil
}

// pairs splits key=value,…; what is no pair has an empty key.
func pairs(text string) func(yield func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		for part := range strings.SplitSeq(text, ",") {
			if strings.TrimSpace(part) == "" {
				continue
			}
			key, value, ok := strings.Cut(part, "=")
			if !ok {
				key = ""
			}
			if !yield(strings.TrimSpace(key), strings.TrimSpace(value)) {
				return
			}
		}
	}
}

// ratio is the share of scrapes that are traced, where a share is asked for.
func (c Config) ratio() (float64, error) {
	if c.SamplerArg == "" || !strings.HasSuffix(c.Sampler, "traceidratio") {
		return 1, nil
	}
	share, err := strconv.ParseFloat(c.SamplerArg, 64)
	if err != nil || !(share >= 0 && share <= 1) {
		return 0, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %.32q is no number from 0 to 1", c.SamplerArg)
	}
	return share, nil
}

func (c Config) timeout() time.Duration { return time.Duration(c.Timeout) * time.Millisecond }

// target is the endpoint as gRPC dials it.
func target(endpoint *url.URL) string {
	port := endpoint.Port()
	if port == "" {
		port = "4317"
	}
	return "dns:///" + net.JoinHostPort(endpoint.Hostname(), port)
}
