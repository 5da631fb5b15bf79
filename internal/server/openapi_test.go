package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestOpenAPI holds the description against what is answered.
func TestOpenAPI(t *testing.T) {
	b := newBench(t)
	ask := func(method, path, body string) any {
		t.Helper()
		w := b.do(method, path, body, "Authorization", "Bearer "+respondToken)
		var out any
		if err := json.Unmarshal(w.Body.Bytes(), &out); w.Code != 200 || err != nil {
			t.Fatalf("%s %s: %d %v: %s", method, path, w.Code, err, w.Body)
		}
		return out
	}
	if w := b.do("GET", "/api/v1/openapi.json", ""); w.Code != 401 {
		t.Errorf("without a token: %d", w.Code)
	}
	doc := ask("GET", "/api/v1/openapi.json", "").(map[string]any)
	if v := doc["openapi"]; v != "3.1.0" {
		t.Errorf("openapi: %v", v)
	}
	values := func(path string) string {
		return strings.NewReplacer("{id}", b.engine.incident.ID, "{name}", "parsoid", "{action}", "ack").Replace(path)
	}
	bodies := map[string]string{
		"/api/v1/incidents": `{"by":"ana","subject":"service:parsoid","text":"x"}`, "/api/v1/incidents/{id}/{action}": `{"by":"ana"}`,
		"/api/v1/route": `{"service":"parsoid"}`, "/api/v1/test-page": `{"person":"ana","by":"ana"}`, "/api/v1/drill": `{"subject":"parsoid","by":"ana","at_night":true}`,
	}
	answered := 0
	for path, operations := range doc["paths"].(map[string]any) {
		for method, op := range operations.(map[string]any) {
			op := op.(map[string]any)
			for _, p := range op["parameters"].([]any) {
				if p := p.(map[string]any); p["in"] == "path" && !strings.Contains(path, fmt.Sprintf("{%s}", p["name"])) {
					t.Errorf("%s %s has no parameter %v", method, path, p["name"])
				}
			}
			if path == "/api/v1/drill/{id}/end" {
				continue // there is no drill to end
			}
			said := op["responses"].(map[string]any)["200"].(map[string]any)["content"].(map[string]any)["application/json"].(map[string]any)["schema"]
			answer := ask(strings.ToUpper(method), values(path), bodies[path])
			for _, wrong := range differences(said.(map[string]any), answer, method+" "+path) {
				t.Error(wrong)
			}
			answered++
		}
	}
	if want := len(b.operations()) - 1; answered != want {
		t.Errorf("%d operations were asked; want %d", answered, want)
	}
}

// differences are where a value is not as its schema says.
func differences(schema map[string]any, value any, at string) (out []string) {
	if either, ok := schema["anyOf"].([]any); ok {
		if value == nil {
			return nil
		}
		return differences(either[0].(map[string]any), value, at)
	}
	kinds := map[string]bool{}
	switch v := value.(type) {
	case nil:
		kinds["null"] = true
	case string:
		kinds["string"] = true
	case bool:
		kinds["boolean"] = true
	case float64:
		kinds["number"], kinds["integer"] = true, v == float64(int64(v))
	case []any:
		kinds["array"] = true
		items, _ := schema["items"].(map[string]any)
		for i, item := range v {
			out = append(out, differences(items, item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		kinds["object"] = true
		properties, _ := schema["properties"].(map[string]any)
		rest, _ := schema["additionalProperties"].(map[string]any)
		for name, item := range v {
			property, ok := properties[name].(map[string]any)
			switch {
			case !ok && rest == nil && properties != nil:
				out = append(out, at+"."+name+" is not described")
			case !ok:
				property = rest
			}
			out = append(out, differences(property, item, at+"."+name)...)
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				out = append(out, at+"."+name.(string)+" is missing")
			}
		}
	}
	if want, ok := schema["type"].(string); ok && !kinds[want] {
		out = append(out, fmt.Sprintf("%s is %v; want %s", at, value, want))
	}
	slices.Sort(out)
	return out
}
