package server

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"callchain/routing"
	"callchain/routing/report"
	"callchain/routing/whois"
)

// operation is one endpoint of the API: what serves it, and what is said of it.
// Both come from here, so that the description knows every endpoint.
type operation struct {
	method, path string // below /api/v1/
	scope        scope
	do           endpoint
	summary      string
	query        []string // names of parameters
	body         any      // a value of the type that is read; nil: none
	answer       any      // of the type that is answered
}

func (s *Server) operations() []operation {
	return []operation{
		{"GET", "incidents", read, s.listIncidents, "Incidents, newest first.", []string{"state", "service", "team", "limit", "cursor"}, nil, incidentList{}},
		{"POST", "incidents", respond, s.pageByHand, "Page a service's or team's people by hand.", nil, order{}, incident{}},
		{"GET", "incidents/{id}", read, s.showIncident, "One incident.", nil, nil, incident{}},
		{"POST", "incidents/{id}/{action}", respond, s.act, "Do something to an incident.", nil, order{}, incident{}},
		{"POST", "route", read, s.route, "What an alert would do, as route test prints it. The labels, {\"labels\": {...}}, or a webhook; one of several alerts is answered by a list.", nil, map[string]any{}, routing.Explanation{}},
		{"POST", "test-page", respond, s.testPage, "Page one person, to see that it reaches them.", nil, order{}, incident{}},
		{"POST", "drill", respond, s.drill, "Page through a real chain, marked as a drill.", nil, drillOrder{}, incident{}},
		{"POST", "drill/{id}/end", respond, s.endDrill, "End a drill.", nil, order{}, incident{}},
		{"GET", "status", read, s.status, "The daemon.", nil, nil, daemonStatus{}},
		{"GET", "services", read, s.listServices, "The services of the catalog.", nil, nil, serviceList{}},
		{"GET", "services/{name}", read, s.showService, "One service, by its name or alias.", nil, nil, service{}},
		{"GET", "teams", read, s.listTeams, "The teams of the catalog.", nil, nil, teamList{}},
		{"GET", "oncall", read, s.onCall, "Who is on call, until when, and who is next.", []string{"at", "team"}, nil, whois.Rota{}},
		{"GET", "risks", read, s.apiRisks, "Alerts that hit ownership which would not hold, newest first.", []string{"kind", "service", "since", "limit"}, nil, riskList{}},
		{"GET", "reports/weekly", read, s.weeklyReport, "The weekly report.", []string{"period"}, nil, report.Report{}},
		{"GET", "openapi.json", read, s.openAPI, "This description.", nil, nil, map[string]any{}},
	}
}

// schema is a JSON Schema, or another part of the description.
type schema = map[string]any

// openAPI describes the API as OpenAPI 3.1 has it.
func (s *Server) openAPI(*http.Request, *view) (any, error) {
	paths := map[string]schema{}
	for _, op := range s.operations() {
		path := "/api/v1/" + op.path
		if paths[path] == nil {
			paths[path] = schema{}
		}
		paths[path][strings.ToLower(op.method)] = op.describe()
	}
	return schema{
		"openapi":  "3.1.0",
		"info":     schema{"title": "callchain", "version": s.deps.Version},
		"security": []schema{{"token": []string{}}},
		"paths":    paths,
		"components": schema{
			"securitySchemes": schema{"token": schema{"type": "http", "scheme": "bearer", "description": "A token of api.tokens."}},
			"schemas":         schema{"Problem": schemaOf(reflect.TypeFor[problem]())},
		},
	}, nil
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

func (op operation) describe() schema {
	parameters := []schema{}
	for _, m := range placeholder.FindAllStringSubmatch(op.path, -1) {
		kind := schema{"type": "string"}
		if m[1] == "action" {
			kind["enum"] = slices.Sorted(maps.Keys(actions))
		}
		parameters = append(parameters, schema{"name": m[1], "in": "path", "required": true, "schema": kind})
	}
	for _, name := range op.query {
		parameters = append(parameters, schema{"name": name, "in": "query", "schema": schema{"type": "string"}})
	}
	out := schema{
		"summary":     op.summary,
		"description": "Needs a token with the scope " + op.scope.String() + ".",
		"parameters":  parameters,
		"responses": schema{
			"200": schema{"description": "Done.", "content": schema{"application/json": schema{"schema": schemaOf(reflect.TypeOf(op.answer))}}},
			"default": schema{
				"description": "A problem, as RFC 9457 has it.",
				"content":     schema{"application/problem+json": schema{"schema": schema{"$ref": "#/components/schemas/Problem"}}},
			},
		},
	}
	if op.body != nil {
		body := schemaOf(reflect.TypeOf(op.body))
		delete(body, "required") // what is left out is empty
		out["requestBody"] = schema{"content": schema{"application/json": schema{"schema": body}}}
	}
	return out
}

// schemaOf is what encoding/json makes of a type.
func schemaOf(t reflect.Type) schema {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return schema{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return schema{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schema{"anyOf": []schema{schemaOf(t.Elem()), {"type": "null"}}}
	case reflect.Struct:
		properties, required := schema{}, []string{}
		for _, f := range reflect.VisibleFields(t) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
				continue
			}
			if name == "" {
				name = f.Name
			}
			properties[name] = schemaOf(f.Type)
			if !strings.Contains(options, "omitempty") {
				required = append(required, name)
			}
		}
		return schema{"type": "object", "properties": properties, "required": required}
	case reflect.Slice, reflect.Array:
		return schema{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return schema{"type": "number"}
	case reflect.Interface:
		return schema{}
	}
	return schema{"type": "integer"}
}
