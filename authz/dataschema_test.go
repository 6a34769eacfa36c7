package authz_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-951114d4/sallyport/authz"
)

// grantSchema is like what a policy that is driven by data has.
const grantSchema = `{
	"$schema": "http://json-schema.org/draft-07/schema#",
	"$id": "https://example.org/policy",
	"title": "grants",
	"type": "object",
	"required": ["grants"],
	"additionalProperties": false,
	"properties": {
		"grants": {
			"type": "object",
			"propertyNames": {"pattern": "^spiffe://"},
			"additionalProperties": {
				"type": "object",
				"additionalProperties": false,
				"properties": {"paths": {"$ref": "#/definitions/paths"}}
			}
		},
		"tree": {"$ref": "#/$defs/tree"},
		"revoked": {"type": "object", "properties": {"serials": {"type": "array", "items": {"type": "string", "minLength": 2}}}}
	},
	"definitions": {
		"paths": {
			"type": "object",
			"additionalProperties": {"allOf": [{"$ref": "#/definitions/limits"}]}
		},
		"limits": {
			"type": "object",
			"properties": {"max_inflight": {"type": "integer", "minimum": 1}},
			"additionalProperties": false
		}
	},
	"$defs": {"tree": {"type": "object", "additionalProperties": {"$ref": "#/$defs/tree"}}}
}`

func TestDataThatItsSchemaTakes(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, folder(map[string]string{
		"register.rego":        "package sallyport.register\nallow if { data.grants[input.agent.id]; not data.properties }",
		"data.schema.json":     grantSchema,
		"data.json":            `{"grants": {"spiffe://example.org/team-a/node": {"paths": {"/team-a/node": {"max_inflight": 2}}}}}`,
		"revoked/serials.yaml": "serials: [aa, bb]",
		"tree/data.yaml":       "a: {b: {c: {}}}",
	}), authz.Options{})
	if d := p.Register(t.Context(), node()); !d.Allow {
		t.Errorf("%+v", d)
	}
}

func TestDataThatItsSchemaRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files map[string]string
		words []string
	}{
		{"nothing", nil, []string{"data: grants is required"}},
		{"unknown key", map[string]string{"data.json": "{\n\"grants\": {},\n\"grantz\": {}\n}"},
			[]string{"data.json:3: data.grantz: Additional property grantz is not allowed"}},
		{"unknown key in one file of two", map[string]string{"a.json": `{"grants": {}}`, "b.yaml": "\n\nrevokd: {}"},
			[]string{"b.yaml:3: data.revokd: "}},
		{"deep", map[string]string{"data.json": `{"grants": {
			"spiffe://example.org/a": {
				"paths": {
					"/a.b": {
						"max_inflight": 0}}}}}`},
			[]string{`data.json:5: data.grants["spiffe://example.org/a"].paths["/a.b"].max_inflight: Must be greater than or equal to 1`}},
		{"deep, of YAML", map[string]string{"data.yaml": "grants:\n  spiffe://example.org/a:\n    paths:\n      /a:\n        max_inflight: two\n"},
			[]string{`data.yaml:5: data.grants["spiffe://example.org/a"].paths["/a"].max_inflight: Invalid type. Expected: integer, given: string`}},
		{"unknown key, deep", map[string]string{"grants/team-a.json": "{}", "grants/b.yaml": "spiffe://b/b:\n  paths: {}\n  path: {}"},
			[]string{`grants/b.yaml:3: data.grants["spiffe://b/b"].path: Additional property path`}},
		{"pattern", map[string]string{"data.json": "{\n\"grants\": {\n\"example.org/a\": {}}}"},
			[]string{`data.json:2: data.grants: Property name of "example.org/a" does not match`}},
		{"array", map[string]string{"data.json": `{"grants": {}}`, "revoked/data.yaml": "serials:\n- aa\n- b\n"},
			[]string{"revoked/data.yaml:3: data.revoked.serials[1]: String length must be greater"}},
		{"alias", map[string]string{"data.yaml": "x: &x {max_inflight: 0}\ngrants: {\"spiffe://a/a\": {paths: {/a: *x}}}"},
			[]string{`data.yaml:1: data.grants["spiffe://a/a"].paths["/a"].max_inflight: `, "data.yaml:1: data.x: "}},
		{"many", map[string]string{"data.yaml": "grants: {}\nrevoked: {serials: [" + strings.Repeat("a,", 50) + "]}"},
			[]string{"data.revoked.serials[1]", "and 30 more"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"data.schema.json": grantSchema}
			for name, content := range tt.files {
				files[name] = content
			}
			mustNotCompile(t, folder(files), append(tt.words, "data.schema.json refuses the data")...)
		})
	}
}

func TestSchemasThatDoNotLoad(t *testing.T) {
	t.Parallel()
	asked := false
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked = true
		fmt.Fprint(w, "{}")
	}))
	t.Cleanup(func() {
		remote.Close()
		if asked {
			t.Error("something was fetched")
		}
	})
	tests := []struct{ name, schema, word string }{
		{"no JSON", "{\n,", "data.schema.json:2"},
		{"key twice", "{\"type\": \"object\",\n\"type\": \"array\"}", "data.schema.json:2"},
		{"no object", "true", "one object"},
		{"remote", "{\"properties\": {\n\"a\": {\"$ref\": \"" + remote.URL + "/x\"}}}", "data.schema.json:2: #.properties.a[\"$ref\"]: refers to " + remote.URL},
		{"remote, deep", `{"allOf": [{"items": [{"not": {"$ref": "` + remote.URL + `"}}]}]}`, "nothing is fetched"},
		{"remote by ID", `{"$id": "` + remote.URL + `#x", "$ref": "#/definitions/x"}`, "beside $ref"},
		{"ID below", `{"properties": {"a": {"$id": "` + remote.URL + `#x", "items": {"$ref": "#"}}}}`, "only the whole schema may have an ID"},
		{"old ID below", `{"properties": {"a": {"id": "file:///etc/passwd#x"}}}`, "only the whole schema may have an ID"},
		{"remote in a place that is no schema", `{"default": {"$ref": "` + remote.URL + `"}, "properties": {"a": {"$ref": "#/default"}}}`, `refers to "#/default"`},
		{"file", `{"properties": {"a": {"$ref": "file:///etc/passwd"}}}`, "nothing is fetched"},
		{"relative", `{"properties": {"a": {"$ref": "other.json#/a"}}}`, "nothing is fetched"},
		{"nowhere", `{"properties": {"a": {"$ref": "#/definitions/none"}}}`, `"#/definitions/none"`},
		{"no string", `{"properties": {"a": {"$ref": {}}}}`, "nothing is fetched"},
		{"to a property", `{"properties": {"a": {"$ref": "#/properties/b"}, "b": {}}}`, "can be referred to"},
		{"name that is a pointer", `{"definitions": {"a": {"not": {}}, "a/not": {}}}`, "a definition's name"},
		{"definitions below", `{"properties": {"a": {"definitions": {}, "$defs": {"x": {}}}}}`, "at the top"},
		{"beside a reference", `{"properties": {"a": {"$ref": "#/$defs/x", "minimum": 1}}, "$defs": {"x": {}}}`, "put both under allOf"},
		{"misspelt keyword", "{\"properties\": {\n\"a\": {\n\"aditionalProperties\": false}}}", "data.schema.json:3: #.properties.a.aditionalProperties: is no keyword"},
		{"keyword of a later draft", `{"unevaluatedProperties": false}`, "is no keyword"},
		{"later draft", `{"$schema": "https://json-schema.org/draft/2020-12/schema"}`, "draft 4, 6 or 7"},
		{"type unknown", `{"type": "text"}`, "data.schema.json"},
		{"type no string", `{"type": 5}`, "data.schema.json"},
		{"bad pattern", `{"pattern": "("}`, "data.schema.json"},
		{"properties no object", `{"properties": []}`, "by name"},
		{"schema no schema", `{"properties": {"a": 5}}`, "is not a schema"},
		{"list no list", `{"allOf": {}}`, "list of schemas"},
		{"circle", `{"$ref": "#"}`, "in a circle"},
		{"circle under allOf", `{"allOf": [{"anyOf": [{"$ref": "#"}]}]}`, "in a circle"},
		{"circle of definitions", `{"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"if": {"$ref": "#/$defs/c"}}, "c": {"dependencies": {"x": {"$ref": "#/$defs/a"}}}}}`, "in a circle"},
		{"circle beside", `{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/b"}}}`, "in a circle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mustNotCompile(t, folder(map[string]string{"data.schema.json": tt.schema, "data.json": `{"a": {"x": 1}}`}), "data.schema.json", tt.word)
		})
	}
	t.Run("not at the top", func(t *testing.T) {
		mustNotCompile(t, folder(map[string]string{"sub/data.schema.json": "{}"}), "sub/data.schema.json", "at the top")
	})
}

// What is applied to a part of the data ends with the data.
func TestSchemasThatRefer(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{
		`{"additionalProperties": {"$ref": "#"}, "not": {"required": ["no"]}}`,
		`{"properties": {"a": {"items": {"$ref": "#"}}, "x": {"propertyNames": {"$ref": "#"}}}}`,
		`{"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"patternProperties": {"": {"$ref": "#"}}}}}`,
		`{"dependencies": {"a": ["x"], "x": {"required": ["a"]}}, "properties": {"a": true, "id": {"type": "object"}, "$ref": {"type": "object"}}}`,
		`{"$id": "file:///nowhere#x", "properties": {"x": {"$ref": "#/definitions/x"}}, "definitions": {"x": {"type": "object"}}}`,
		`{"$schema": "http://json-schema.org/draft-04/schema#", "id": "x", "properties": {"x": {"$ref": "#/definitions/x"}}, "definitions": {"x": {"type": "object"}}}`,
	} {
		mustCompile(t, folder(map[string]string{"data.schema.json": schema, "data.json": `{"a": {"x": {"a": {}}}, "x": {}}`}), authz.Options{})
	}
}

// An older draft that is named must not switch off what a newer one knows.
func TestSchemaKeywordsOfALaterDraftCount(t *testing.T) {
	t.Parallel()
	mustNotCompile(t, folder(map[string]string{
		"data.schema.json": `{"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"a": {"const": 1}}}`,
		"data.json":        `{"a": 2}`,
	}), "data.json:1: data.a: ")
}

// Names may hold the dots by which the schema's answer joins names.
func TestPathsOfNamesWithDots(t *testing.T) {
	t.Parallel()
	mustNotCompile(t, folder(map[string]string{
		"data.schema.json": `{"additionalProperties": {"additionalProperties": {"type": "string"}}}`,
		"data.json":        "{\"a\": {\"x\": \"\"},\n\"a.b\": {\n\"c.d\": 1}}",
	}), `data.json:3: data["a.b"]["c.d"]: `)
}

func BenchmarkSchema(b *testing.B) {
	grants := make(map[string]any)
	for i := range 10_000 {
		grants[fmt.Sprintf("spiffe://example.org/team-%d/node", i)] = map[string]any{
			"paths": map[string]any{fmt.Sprintf("/team-%d/node", i): map[string]any{"max_inflight": 4}},
		}
	}
	data, err := json.Marshal(map[string]any{"grants": grants})
	if err != nil {
		b.Fatal(err)
	}
	for name, schema := range map[string]string{"with": grantSchema, "without": "{}"} {
		fsys := folder(map[string]string{"data.json": string(data), "data.schema.json": schema})
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				mustCompile(b, fsys, authz.Options{})
			}
		})
	}
}
