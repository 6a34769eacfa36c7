package authz_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/seed-951114d4/sallyport/authz"
)

// The documents are a contract with everybody's policies: a field may be added, none
// may change.
func TestDocuments(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		doc  ast.Value
		want string
	}{
		{"register", node().Document(), `{
			"schema": 1, "action": "register", "now_ns": 1700000000000000007,
			"proxy": {"id": "spiffe://example.org/proxy", "trust_domain": "example.org"},
			"agent": {
				"id": "spiffe://example.org/team-a/node", "kind": "spiffe", "trust_domain": "example.org",
				"segments": ["team-a", "node"], "name": "node-1", "serial": "0a1b", "spki_sha256": "e3b0",
				"not_after_ns": 1800000000000000005, "remote_ip": "192.0.2.1", "source": "files"
			},
			"route": {
				"path": "/team-a/node", "segments": ["team-a", "node"], "labels": {"env": "prod"},
				"target": {"scheme": "http", "host": "127.0.0.1", "port": 9100, "path": "/metrics"}
			},
			"state": {"owner": "spiffe://example.org/team-a/node", "agent_routes": 3, "total_routes": 70}
		}`},
		{"scrape", prometheus().Document(), `{
			"schema": 1, "action": "scrape", "now_ns": 1700000000000000007,
			"proxy": {"id": "spiffe://example.org/proxy", "trust_domain": "example.org"},
			"scraper": {
				"id": "spiffe://example.org/prometheus", "kind": "spiffe", "trust_domain": "example.org",
				"segments": ["prometheus"], "remote_ip": "192.0.2.2"
			},
			"request": {"query": {"collect[]": ["cpu", "disk"]}, "timeout_ms": 9500},
			"route": {
				"path": "/team-a/node", "segments": ["team-a", "node"],
				"owner": "spiffe://example.org/team-a/node", "labels": {"env": "prod"}
			}
		}`},
		{"admin", operator().Document(), `{
			"schema": 1, "action": "admin", "now_ns": 1700000000000000007,
			"proxy": {"id": "spiffe://example.org/proxy", "trust_domain": "example.org"},
			"scraper": {
				"id": "admin.example.org", "kind": "dns", "trust_domain": "",
				"segments": ["admin.example.org"], "remote_ip": "192.0.2.3"
			},
			"request": {"method": "GET", "path": "/api/v1/routes"}
		}`},
		{"session", connection().Document(), `{
			"schema": 1, "action": "session", "now_ns": 1700000000000000007,
			"proxy": {"id": "spiffe://example.org/proxy", "trust_domain": "example.org"},
			"agent": {
				"id": "spiffe://example.org/team-a/node", "kind": "spiffe", "trust_domain": "example.org",
				"segments": ["team-a", "node"], "name": "node-1", "serial": "0a1b", "spki_sha256": "e3b0",
				"not_after_ns": 1800000000000000005, "remote_ip": "192.0.2.1", "source": "files"
			}
		}`},
		{"empty register", authz.RegisterInput{Now: time.Unix(0, 1)}.Document(), `{
			"schema": 1, "action": "register", "now_ns": 1,
			"proxy": {"id": "", "trust_domain": ""},
			"agent": {
				"id": "", "kind": "", "trust_domain": "", "segments": [], "name": "", "serial": "",
				"spki_sha256": "", "not_after_ns": 0, "remote_ip": "", "source": ""
			},
			"route": {
				"path": "", "segments": [], "labels": {},
				"target": {"scheme": "", "host": "", "port": 0, "path": ""}
			},
			"state": {"owner": "", "agent_routes": 0, "total_routes": 0}
		}`},
		{"empty scrape", authz.ScrapeInput{Now: time.Unix(0, 1)}.Document(), `{
			"schema": 1, "action": "scrape", "now_ns": 1,
			"proxy": {"id": "", "trust_domain": ""},
			"scraper": {"id": "", "kind": "", "trust_domain": "", "segments": [], "remote_ip": ""},
			"request": {"query": {}, "timeout_ms": 0},
			"route": {"path": "", "segments": [], "owner": "", "labels": {}}
		}`},
		{"empty admin", authz.AdminInput{Now: time.Unix(0, 1)}.Document(), `{
			"schema": 1, "action": "admin", "now_ns": 1,
			"proxy": {"id": "", "trust_domain": ""},
			"scraper": {"id": "", "kind": "", "trust_domain": "", "segments": [], "remote_ip": ""},
			"request": {"method": "", "path": ""}
		}`},
		{"empty session", authz.SessionInput{Now: time.Unix(0, 1)}.Document(), `{
			"schema": 1, "action": "session", "now_ns": 1,
			"proxy": {"id": "", "trust_domain": ""},
			"agent": {
				"id": "", "kind": "", "trust_domain": "", "segments": [], "name": "", "serial": "",
				"spki_sha256": "", "not_after_ns": 0, "remote_ip": "", "source": ""
			}
		}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, want := mustJSON(t, tt.doc), canonical(t, []byte(tt.want))
			if !bytes.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func mustJSON(t *testing.T, doc ast.Value) []byte {
	t.Helper()
	out, err := authz.JSON(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// canonical is the same JSON with sorted keys; numbers keep every digit.
func canonical(t *testing.T, doc []byte) []byte {
	t.Helper()
	var v any
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNowIsTheDefaultTime(t *testing.T) {
	t.Parallel()
	before := time.Now().UnixNano()
	v, err := authz.RegisterInput{}.Document().Find(ast.Ref{ast.StringTerm("now_ns")})
	if err != nil {
		t.Fatal(err)
	}
	now, ok := v.(ast.Number).Int64()
	if !ok || now < before || now > time.Now().UnixNano() {
		t.Errorf("now_ns is %v", v)
	}
}

// A field that the document has and the schema lacks could not be used by a policy; one
// that the schema has and the document lacks would be undefined at run time.
func TestDocumentsMatchSchemas(t *testing.T) {
	t.Parallel()
	docs := authz.Samples()
	docs["register"] = append(docs["register"], node().Document())
	docs["scrape"] = append(docs["scrape"], prometheus().Document())
	docs["admin"] = append(docs["admin"], operator().Document())
	docs["session"] = append(docs["session"], connection().Document())
	for action, list := range docs {
		schema, err := authz.SchemaOf(action)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range list {
			var v any
			if err := json.Unmarshal(mustJSON(t, doc), &v); err != nil {
				t.Fatal(err)
			}
			matches(t, action, schema.(map[string]any), v)
		}
	}
}

func matches(t *testing.T, at string, schema map[string]any, v any) {
	t.Helper()
	if want, ok := schema["const"]; ok && v != want {
		t.Errorf("%s: %v, want %v", at, v, want)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		t.Errorf("%s: %v is none of %v", at, v, enum)
	}
	switch v := v.(type) {
	case map[string]any:
		props, fixed := schema["properties"].(map[string]any)
		if !fixed {
			for k, e := range v {
				matches(t, at+"."+k, schema["additionalProperties"].(map[string]any), e)
			}
			return
		}
		if schema["type"] != "object" || schema["additionalProperties"] != false {
			t.Errorf("%s: the schema lets other fields in", at)
		}
		have, want := slices.Sorted(maps.Keys(v)), slices.Sorted(maps.Keys(props))
		if !slices.Equal(have, want) {
			t.Errorf("%s: fields %v, the schema has %v", at, have, want)
		}
		required := make([]string, 0, len(want))
		for _, name := range schema["required"].([]any) {
			required = append(required, name.(string))
		}
		if slices.Sort(required); !slices.Equal(required, want) {
			t.Errorf("%s: required are %v of %v", at, required, want)
		}
		for k, e := range v {
			matches(t, at+"."+k, props[k].(map[string]any), e)
		}
	case []any:
		if schema["type"] != "array" {
			t.Errorf("%s: an array, the schema has %v", at, schema["type"])
		}
		for _, e := range v {
			matches(t, at+"[]", schema["items"].(map[string]any), e)
		}
	case string:
		if schema["type"] != "string" {
			t.Errorf("%s: a string, the schema has %v", at, schema["type"])
		}
	case float64:
		if schema["type"] != "integer" {
			t.Errorf("%s: a number, the schema has %v", at, schema["type"])
		}
	default:
		t.Errorf("%s: %T", at, v)
	}
}
