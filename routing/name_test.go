package routing

import "testing"

func TestName(t *testing.T) {
	match := must(t, `instance=~"(?P<svc>[a-z]+)(-(?P<part>[a-z]+))?:[0-9]+"`, `app=~"(?P<svc>[a-z]*).*"`, `zone!~"(?P<svc>x)"`)
	for _, test := range []struct{ name, text, labels, route, want string }{
		{"plain", "parsoid", "", "", "parsoid"},
		{"group", "{{ .part }}", "instance=web-api:80", "", "api"},
		{"the later of two groups of one name", "{{ .svc }}", "instance=web:80 app=maps2", "", "maps"},
		{"a later group without text counts too", "{{ .svc }}", "instance=web:80", "", ""},
		{"a group covers a label", "{{ .svc }}", "svc=label app=maps", "", "maps"},
		{"a group that took no part does not", "{{ .part }}", "part=label instance=web:80", "", "label"},
		{"a missing label is empty", "{{ .nosuch }}", "", "", ""},
		{"the route", "{{ .route_svc }}", "route_svc=own", "svc=given", "given"},
		{"functions", `{{ reReplaceAll "[0-9]+$" "" .host | toUpper }}`, "host=db12", "", "DB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := Alert{Labels: pairs(test.labels), RouteLabels: pairs(test.route)}
			n, err := compileName(test.text, match)
			if err != nil {
				t.Fatal(err)
			}
			for _, way := range []string{"as compiled", "as a template"} {
				got, err := n.of(a)
				if err != nil || got != test.want {
					t.Errorf("%s: %q, %v; want %q", way, got, err, test.want)
				}
				n.field = ""
			}
		})
	}
}
