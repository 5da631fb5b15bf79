package convert

import (
	"cmp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"callchain/config"
	"callchain/routing/catalog"
)

// prefix is that of our own annotations: what stands there is meant for
// callchain, wins over everything else, and is an error when it is wrong.
const prefix = "callchain.dev/"

// ours are the annotations of an entity under our prefix, by the rest of the key
// in the catalog's spelling.
type ours map[string]fact

// The annotations that each kind of entry may carry.
var annotations = map[string][]string{
	person: {"contact", "email", "ignore", "name", "phone", "slack", "timezone"},
	team: {"aliases", "director", "email", "ignore", "kind", "lead", "manager", "name", "on_call", "slack_channel", "slack_usergroup",
		"webhooks"},
	service: {"alerts", "aliases", "dashboard", "ignore", "legacy.reason", "legacy.since", "name", "owner", "owner.configuration_deployment",
		"owner.contingency_development", "owner.development", "owner.incident_response", "owner.product_management", "policy", "runbook",
		"slo.objective", "slo.url", "slo.window", "state", "tier", "vacancy.director", "vacancy.reason", "volunteers"},
}

// annotated reads our annotations out of a mapping, for an entry of the kind.
func (b *builder) annotated(kind string, from node) ours {
	out := ours{}
	for _, p := range from.pairs() {
		name, is := strings.CutPrefix(p.key.raw(), prefix)
		if !is {
			continue
		}
		key := underscored(name)
		if !slices.Contains(annotations[kind], key) {
			b.errorf(p.key.pos(), "unknown annotation %s of a %s; known are %s", quoted(prefix+name), kind, strings.Join(annotations[kind], ", "))
			continue
		}
		if p.value.ok() && p.value.n.Kind != yaml.ScalarNode {
			b.errorf(p.value.pos(), "%s%s: want a text, got %s; write one value, in quotes if need be", prefix, name, describe(p.value))
			continue
		}
		value := p.value.raw() // alerts keep their lines
		if key != "alerts" && key != "volunteers" && key != "aliases" && key != "webhooks" && key != "contact" {
			value = printable(value)
		}
		if key == "ignore" && !slices.Contains([]string{"", "true", "false"}, strings.ToLower(value)) {
			b.errorf(p.value.pos(), "%signore: want true or false, got %s", prefix, quoted(value))
		}
		if strings.TrimSpace(value) != "" {
			out[key] = fact{value: value, pos: p.value.pos()}
		}
	}
	return out
}

func (o ours) ignored() bool { return strings.EqualFold(o["ignore"].value, "true") }

// must gives a scalar that stands under our prefix: config's objection is an error.
func (b *builder) must(e *entry, key string, f fact) {
	if f.value == "" {
		return
	}
	if why := refusal(e.kind, key, f.value); why != "" {
		b.errorf(f.pos, "%s: %s; correct the annotation %s%s", e, why, prefix, key)
		return
	}
	e.fields[key] = f
}

// scalars takes those annotations that stand for keys of the catalog as they are.
func (b *builder) scalars(e *entry, o ours, keys ...string) {
	for _, key := range keys {
		b.must(e, key, o[key])
	}
}

// roleKey is a role's annotation.
func roleKey(r config.Role) string { return "owner." + string(r) }

// serviceFacts applies the annotations of a service, except for its owners. The
// state is set before.
func (b *builder) serviceFacts(e *entry, o ours) {
	b.scalars(e, o, "tier", "runbook", "dashboard", "policy", "slo.objective", "slo.window", "slo.url")
	for _, a := range listed(o["aliases"].value) {
		e.wanted = append(e.wanted, fact{value: a, pos: o["aliases"].pos})
	}
	for line := range strings.Lines(o["alerts"].value) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		f := fact{value: line, pos: o["alerts"].pos}
		why := refusal(service, "alerts", line)
		if why == "" && printable(line) != line {
			why = "a matcher with two blanks in a row or signs that cannot be seen"
		}
		if why != "" {
			b.errorf(f.pos, "%s: %s; write one set of matchers a line in the annotation %salerts", e, why, prefix)
			continue
		}
		e.alerts = append(e.alerts, f)
	}
	if f := cmp.Or(o["legacy.since"], o["legacy.reason"]); f.value != "" && e.state != config.Unowned {
		b.note(f.pos, LeftOut, e, "%slegacy, which is about unowned services; it is %s", prefix, e.state)
	}
	if e.state == config.Unowned {
		b.must(e, "legacy.since", o["legacy.since"])
		b.must(e, "legacy.reason", o["legacy.reason"])
		if e.fields["legacy.since"].value == "" && !b.opts.Since.IsZero() {
			e.fields["legacy.since"] = fact{value: b.opts.Since.Format("2006-01-02"), pos: e.pos, guess: "the day of the import"}
			b.guessed(e, "legacy.since", e.fields["legacy.since"])
		}
		if e.fields["legacy.reason"].value == "" {
			e.fields["legacy.reason"] = fact{value: "unowned when it was imported from " + titles[b.from], pos: e.pos}
		}
	}
}

// ownersOf applies the annotations about owners. resolve turns what they name
// into a team's handle, "" when it told why there is none.
func (b *builder) ownersOf(e *entry, o ours, resolve func(e *entry, f fact, what string) string) {
	if d := o["vacancy.director"]; d.value != "" || o["vacancy.reason"].value != "" {
		r := o["vacancy.reason"]
		switch {
		case e.state != config.Maintenance:
			b.errorf(cmp.Or(d, r).pos, "%s: only in state maintenance a director holds a role vacant, it is %s; remove %svacancy.director", e, e.state, prefix)
		case d.value == "" || r.value == "":
			b.errorf(cmp.Or(d, r).pos, "%s: a vacancy needs both %svacancy.director and %svacancy.reason", e, prefix, prefix)
		default:
			d.value = personNamed(d.value)
			e.vacancy = map[string]fact{"director": d, "reason": r}
		}
	}
	for _, r := range config.Roles {
		if f, ok := o[roleKey(r)]; ok {
			f.value = resolve(e, f, prefix+roleKey(r))
			b.own(e, r, f)
		}
	}
	if f, ok := o["owner"]; ok {
		f.value = resolve(e, f, prefix+"owner")
		for _, r := range config.Roles {
			if catalog.Requirement(e.state, r) == catalog.Required || e.state == config.Unowned && r == config.IncidentResponse {
				b.own(e, r, f)
			}
		}
	}
	for _, name := range listed(o["volunteers"].value) {
		f := fact{value: name, pos: o["volunteers"].pos}
		if f.value = resolve(e, f, prefix+"volunteers"); f.value != "" {
			b.tell(e, f)
		}
	}
}
