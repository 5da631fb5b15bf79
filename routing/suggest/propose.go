package suggest

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/prometheus/alertmanager/pkg/labels"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Certainty is how a proposal came by its service.
type Certainty string

// The certainties.
const (
	Named   Certainty = "named"   // a label's value is the service's name or alias, but for case, port, "_" for "-" or a domain
	Similar Certainty = "similar" // a label's value or the alert's name begins with it: look before you paste
	Asks    Certainty = "unknown" // nothing names a service of the catalog
)

// Proposal is a rule that would bring alerts to a service.
type Proposal struct {
	Alerts       int               `json:"alerts"`       // that reach no service now, and would
	Service      string            `json:"service"`      // "" when nothing names one
	Certainty    Certainty         `json:"certainty"`    //
	Alternatives []string          `json:"alternatives"` // other services that labels of these alerts name
	Moves        int               `json:"moves"`        // alerts that reach another service now and would be taken from it
	Reason       string            `json:"reason"`       // one sentence
	AlertNames   []string          `json:"alert_names"`
	Labels       map[string]string `json:"labels"` // what all of the alerts share
	Match        []string          `json:"match"`  // the rule's matchers
	Rule         string            `json:"rule"`   // one line of YAML for routing.rules

	matchers labels.Matchers
	file     string
}

// Seen is an alert and the service that it reached; "" when it reached none.
type Seen struct {
	Labels  map[string]string
	Service string
	File    string // of its alerting rule; "" when only the alert is known
}

// SeenBy is what a backtest saw.
func SeenBy(answers []routing.Answer) []Seen {
	out := make([]Seen, len(answers))
	for i, a := range answers {
		out[i] = Seen{Labels: a.Labels, Service: a.Service}
	}
	return out
}

// Placeholder stands in a proposed rule whose service a person has to name.
const Placeholder = "WHICH-SERVICE"

// telling are the labels that name what runs, most telling first. After them
// come labels that speak of a service or an app in their own name.
var telling = []string{
	"service", "exported_service", "app_kubernetes_io_name", "app", "application", "component",
	"deployment", "statefulset", "daemonset", "container", "release",
	"exported_namespace", "kubernetes_namespace", "namespace",
	"exported_job", "job", "cluster", "exported_cluster",
}

// exporter are the labels that name the exporter, not what it tells about, on
// series of kube-state-metrics that were scraped without honor_labels.
var exporter = []string{"namespace", "pod", "service", "container", "job", "endpoint", "instance"}

// infrastructure are values that tell where something runs or who measured it.
var infrastructure = regexp.MustCompile(`^(node|node-exporter|cadvisor|kubelet|kube-state-metrics|(k8s|kubernetes)-.*|blackbox.*|probes/.*|pint|default|kube-system|monitoring|observability|prod|production|main|misc|staging|stage|test|dev|development)$`)

// names finds services by what labels make of their names.
type names struct {
	exact map[string][]string // from a plain name to the services called so
	flat  map[string][]string // the same without "-"
}

func namesOf(cat *catalog.Catalog) names {
	n := names{map[string][]string{}, map[string][]string{}}
	for _, s := range cat.Services() {
		for _, name := range append([]string{s.Name}, s.Aliases...) {
			for in, key := range map[*map[string][]string]string{&n.exact: plain(name), &n.flat: flat(name)} {
				if !slices.Contains((*in)[key], s.Name) {
					(*in)[key] = append((*in)[key], s.Name)
				}
			}
		}
	}
	return n
}

func plain(name string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "-")
}

func flat(name string) string { return strings.ReplaceAll(plain(name), "-", "") }

var port = regexp.MustCompile(`[:_][0-9]+$`)

// of are the services that a value names: as it stands, without its port,
// without its domain.
func (n names) of(value string) []string {
	for _, v := range []string{value, port.ReplaceAllString(value, ""), strings.SplitN(port.ReplaceAllString(value, ""), ".", 2)[0]} {
		if found := n.exact[plain(v)]; len(found) > 0 {
			return found
		}
	}
	return nil
}

// shortest is the length of the shortest name that is looked for within others.
const shortest = 3

// beginning are the services whose name a value begins with, the longest first
// name only: datahub for datahub-next.
func (n names) beginning(value string) []string {
	v := plain(value)
	for i := len(v) - 1; i >= shortest; i-- {
		if v[i] != '-' {
			continue
		}
		if found := n.exact[v[:i]]; len(found) > 0 {
			return found
		}
	}
	return nil
}

// family is the beginning of an alert's name that is a service's name: Thumbor
// of ThumborHighErrorRate. It ends where the next word begins.
func (n names) family(alertname string) (string, []string) {
	for i := len(alertname); i >= shortest; i-- {
		if i < len(alertname) && !unicode.IsUpper(rune(alertname[i])) && !unicode.IsDigit(rune(alertname[i])) && alertname[i] != '_' && alertname[i] != '-' {
			continue
		}
		if found := n.flat[flat(alertname[:i])]; len(found) > 0 {
			return alertname[:i], found
		}
	}
	return "", nil
}

// clue is one label that says what an alert is about.
type clue struct {
	service   string
	others    []string
	certainty Certainty
	label     string
	pattern   string // of a regular expression that matches the value
	value     string
	file      string // whose name told it
}

// clues are what an alert's labels say, the most telling first.
func (n names) clues(of map[string]string) []clue {
	var found []clue
	add := func(services []string, c clue) {
		if len(services) == 0 {
			return
		}
		c.service, c.others = services[0], services[1:]
		found = append(found, c)
	}
	for _, label := range tellingOf(of) {
		v := of[label]
		add(n.of(v), clue{certainty: Named, label: label, pattern: regexp.QuoteMeta(v), value: v})
	}
	if v := of["instance"]; !aboutExporter(of, "instance") && port.MatchString(v) && usable(v) {
		name := port.ReplaceAllString(v, "")
		add(n.exact[plain(name)], clue{certainty: Named, label: "instance", pattern: regexp.QuoteMeta(name) + ":[0-9]+", value: v})
	}
	if name := of["alertname"]; usable(name) {
		family, services := n.family(name)
		add(services, clue{certainty: Similar, label: "alertname", pattern: regexp.QuoteMeta(family) + ".*", value: name})
	}
	for _, label := range tellingOf(of) {
		v := of[label]
		add(n.beginning(v), clue{certainty: Similar, label: label, pattern: regexp.QuoteMeta(v), value: v})
	}
	return found
}

// ofFile is what the name of an alert's rule file says, like team-web_checkout.yml.
func (n names) ofFile(a Seen) []clue {
	name := a.Labels["alertname"]
	if a.File == "" || !usable(name) {
		return nil
	}
	base := strings.TrimSuffix(path.Base(a.File), path.Ext(a.File))
	for i, part := range append([]string{base}, notWord.Split(strings.ToLower(base), -1)...) {
		if i > 0 && len(part) < shortest {
			continue
		}
		if found := n.exact[plain(part)]; len(found) > 0 {
			return []clue{{service: found[0], others: found[1:], certainty: Similar, label: "alertname", pattern: regexp.QuoteMeta(name), value: name, file: path.Base(a.File)}}
		}
	}
	return nil
}

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

// tellingOf are an alert's labels that may name what runs.
func tellingOf(of map[string]string) []string {
	out := slices.Clone(telling)
	for _, label := range slices.Sorted(maps.Keys(of)) {
		if (strings.Contains(label, "service") || strings.Contains(label, "app")) && !slices.Contains(out, label) {
			out = append(out, label)
		}
	}
	return slices.DeleteFunc(out, func(label string) bool {
		v := of[label]
		return !usable(v) || infrastructure.MatchString(plain(v)) || aboutExporter(of, label) ||
			v == of["site"] && label != "site"
	})
}

func aboutExporter(of map[string]string, label string) bool {
	return of["job"] == "kube-state-metrics" && slices.Contains(exporter, label)
}

// maxValue is the longest value that a proposed matcher spells out.
const maxValue = 200

// usable tells whether a value can stand in a line of YAML that people read.
func usable(value string) bool {
	return value != "" && len(value) <= maxValue && !strings.ContainsFunc(value, func(r rune) bool {
		return r == unicode.ReplacementChar || !unicode.IsPrint(r)
	})
}

// maxPatterns bounds what one proposed expression lists.
const maxPatterns = 40

// Propose makes rules for the alerts that reached no service, those that would
// help the most alerts first. Every such alert whose name can be written down is
// in exactly one of them. What reached a service only serves to tell what a rule
// would take away.
func Propose(cat *catalog.Catalog, all []Seen) []Proposal {
	n := namesOf(cat)
	type key struct {
		service, label, file string
		certainty            Certainty
	}
	grouped := map[key]*group{}
	rest := map[string]*group{}
	for _, a := range all {
		if a.Service != "" {
			continue
		}
		found := append(n.clues(a.Labels), n.ofFile(a)...)
		if len(found) == 0 {
			if name := a.Labels["alertname"]; usable(name) {
				of := cmp.Or(a.File, name)
				if rest[of] == nil {
					rest[of] = &group{file: a.File}
				}
				rest[of].add(a.Labels, clue{certainty: Asks, label: "alertname", pattern: regexp.QuoteMeta(name), value: name})
			}
			continue
		}
		c := found[0]
		k := key{c.service, c.label, c.file, c.certainty}
		if grouped[k] == nil {
			grouped[k] = &group{}
		}
		g := grouped[k]
		g.add(a.Labels, c)
		for _, other := range found[1:] {
			g.others = append(append(g.others, other.service), other.others...)
		}
	}
	out := []Proposal{}
	for _, g := range grouped {
		out = append(out, g.proposal())
	}
	for _, g := range families(rest) {
		out = append(out, g.proposal())
	}
	slices.SortFunc(out, func(a, b Proposal) int {
		return cmp.Or(b.Alerts-a.Alerts, strings.Compare(a.Service, b.Service), slices.Compare(a.Match, b.Match))
	})
	taken := map[string]int{}
	others := owned{all, map[string]map[ownedBy]int{}}
	for i := range out {
		p := &out[i]
		p.Moves = others.moves(*p)
		if s := cat.Service(p.Service); s != nil && s.State == config.Decommissioned {
			p.Reason += " That is decommissioned: if nothing else is meant, remove the alerting rule instead."
		}
		p.Rule = ruleText(*p, taken)
	}
	return out
}

// group are alerts that one rule would take.
type group struct {
	alerts   int
	clue     clue
	patterns []string
	values   []string
	names    []string
	others   []string
	shared   map[string]string
	file     string // whose alerting rules these are
	team     string
	several  bool // not all name the same team
}

func (g *group) add(of map[string]string, c clue) {
	if g.alerts++; g.alerts == 1 {
		g.clue, g.shared = c, maps.Clone(of)
	}
	maps.DeleteFunc(g.shared, func(name, value string) bool { return value == "" || of[name] != value })
	if g.alerts == 1 {
		g.team = of["team"]
	} else if g.team != of["team"] {
		g.several = true
	}
	g.patterns, g.values = insert(g.patterns, c.pattern), insert(g.values, c.value)
	g.names = insert(g.names, of["alertname"])
	g.others = append(g.others, c.others...)
}

func (g *group) merge(o *group) {
	g.alerts += o.alerts
	g.several = g.several || o.several
	maps.DeleteFunc(g.shared, func(name, value string) bool { return o.shared[name] != value })
	for _, n := range o.names {
		g.names = insert(g.names, n)
	}
	for _, p := range o.patterns {
		g.patterns = insert(g.patterns, p)
	}
	for _, v := range o.values {
		g.values = insert(g.values, v)
	}
}

// insert keeps a sorted list without repetitions.
func insert(list []string, s string) []string {
	at, found := slices.BinarySearch(list, s)
	if found || s == "" {
		return list
	}
	return slices.Insert(list, at, s)
}

// vague are first words of alert names that tell nothing about whose they are.
var vague = regexp.MustCompile(`^(High|Low|Too|Many|Node|Service|Job|Jobs|Probe|Error|Errors|Disk|Memory|Systemd|Cluster|Instance|Host|Target|Alert|Elevated|Inbound|Outbound|Widespread|Large|Slow|Failed|Missing|Unhealthy|Management|Interface|Server|Core|Process|Request|Latency|Cert|Certificate)$`)

var firstWord = regexp.MustCompile(`^([A-Z]+[a-z]+|[A-Z]{2,}[a-z]*)`)

// families puts alerts together that are likely of one service: those of one
// rule file, or, where the file is not known, those whose names begin with the same
// word and who carry the same team.
func families(rest map[string]*group) []*group {
	byWord := map[[2]string][]string{}
	var out []*group
	for _, name := range slices.Sorted(maps.Keys(rest)) {
		if g := rest[name]; g.file != "" {
			word := firstWord.FindString(g.names[0])
			if len(g.names) > 1 && len(word) > shortest && !vague.MatchString(word) &&
				!slices.ContainsFunc(g.names, func(name string) bool { return firstWord.FindString(name) != word }) {
				g.patterns = []string{regexp.QuoteMeta(beginningOf(word, g.names)) + ".*"}
			}
			out = append(out, g)
			continue
		}
		word := firstWord.FindString(name)
		if len(word) <= shortest || vague.MatchString(word) {
			out = append(out, rest[name])
			continue
		}
		k := [2]string{word, rest[name].shared["team"]}
		byWord[k] = append(byWord[k], name)
	}
	for k, members := range byWord {
		g := rest[members[0]]
		for _, name := range members[1:] {
			g.merge(rest[name])
		}
		if len(members) > 1 {
			g.patterns = []string{regexp.QuoteMeta(beginningOf(k[0], members)) + ".*"}
		}
		out = append(out, g)
	}
	return out
}

// beginningOf is the longest beginning of all names that is made of whole words.
func beginningOf(word string, all []string) string {
	begin := all[0]
	for _, name := range all[1:] {
		n := 0
		for n < min(len(begin), len(name)) && begin[n] == name[n] {
			n++
		}
		begin = begin[:n]
	}
	for i := len(begin); i > len(word); i-- {
		if !slices.ContainsFunc(all, func(name string) bool { return i < len(name) && !unicode.IsUpper(rune(name[i])) }) {
			return begin[:i]
		}
	}
	return word
}

func (g *group) proposal() Proposal {
	p := Proposal{
		Alerts: g.alerts, Service: g.clue.service, Certainty: g.clue.certainty,
		Alternatives: []string{}, AlertNames: append([]string{}, g.names...), Labels: g.shared, Match: []string{}, file: g.file,
	}
	for _, o := range g.others {
		if o != p.Service {
			p.Alternatives = insert(p.Alternatives, o)
		}
	}
	if patterns := g.patterns[:min(len(g.patterns), maxPatterns)]; len(g.values) == 1 && patterns[0] == regexp.QuoteMeta(g.values[0]) {
		p.match(labels.MatchEqual, g.clue.label, g.values[0])
	} else {
		p.match(labels.MatchRegexp, g.clue.label, strings.Join(patterns, "|"))
	}
	if team := g.shared["team"]; g.clue.certainty == Asks && usable(team) {
		p.match(labels.MatchEqual, "team", team)
	}
	switch g.clue.certainty {
	case Named:
		p.Reason = fmt.Sprintf("The label %s names service %s.", g.clue.label, p.Service)
	case Similar:
		what := "label " + g.clue.label
		if g.clue.label == "alertname" {
			what = "alert's name"
		}
		if g.clue.file != "" {
			p.Reason = fmt.Sprintf("The rule file %s is called like service %s: is it that service?", g.clue.file, p.Service)
			break
		}
		p.Reason = fmt.Sprintf("The %s begins with the name of service %s: is it that service?", what, p.Service)
	default:
		p.Reason = "No label names a service of the catalog: which service is this?"
		if g.file != "" {
			p.Reason = "Nothing in " + g.file + " names a service of the catalog: which service is this?"
		}
		if g.several {
			p.Reason += " Several teams get it, so it is hardly about one: a label service on its series or in its alerting rule would say more than a rule here."
		}
	}
	if len(p.Alternatives) > 0 {
		p.Reason += " Other labels say " + strings.Join(p.Alternatives, ", ") + "."
	}
	return p
}

// match adds a matcher to the rule. Its expressions are made of quoted text, so
// they compile.
func (p *Proposal) match(t labels.MatchType, name, value string) {
	m, err := labels.NewMatcher(t, name, value)
	if err != nil {
		panic(fmt.Sprintf("the expression %q: %v", value, err))
	}
	p.matchers = append(p.matchers, m)
	p.Match = append(p.Match, m.String())
}

// takes tells whether the rule matches an alert.
func (p *Proposal) takes(of map[string]string) bool {
	return !slices.ContainsFunc(p.matchers, func(m *labels.Matcher) bool { return !m.Matches(of[m.Name]) })
}

// owned counts the alerts that reach a service, by what a proposed rule looks
// at: so a rule is not held against every single alert.
type owned struct {
	all     []Seen
	byLabel map[string]map[ownedBy]int
}

type ownedBy struct{ value, team, service string }

func (o *owned) of(label string) map[ownedBy]int {
	if counts, ok := o.byLabel[label]; ok {
		return counts
	}
	counts := map[ownedBy]int{}
	for _, a := range o.all {
		if a.Service != "" {
			counts[ownedBy{a.Labels[label], a.Labels["team"], a.Service}]++
		}
	}
	o.byLabel[label] = counts
	return counts
}

// moves counts the alerts that a rule would take from another service.
func (o *owned) moves(p Proposal) int {
	n := 0
	label := p.matchers[0].Name
	for by, count := range o.of(label) {
		if by.service != p.Service && p.takes(map[string]string{"team": by.team, label: by.value}) {
			n += count
		}
	}
	return n
}

var bare = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`)

// ruleText is the line for routing.rules. Its name says where it comes from and
// is not that of another proposal.
func ruleText(p Proposal, taken map[string]int) string {
	name := p.Service
	if name == "" && p.file != "" {
		name = strings.TrimSuffix(path.Base(p.file), path.Ext(p.file))
	}
	if name == "" && len(p.AlertNames) > 0 {
		name = p.AlertNames[0]
		if len(p.AlertNames) > 1 {
			name = cmp.Or(firstWord.FindString(name), name)
		}
	}
	name = "proposed-" + strings.Trim(notWord.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if taken[name]++; taken[name] > 1 {
		name = fmt.Sprintf("%s-%d", name, taken[name])
	}
	quoted := make([]string, len(p.Match))
	for i, m := range p.Match {
		quoted[i] = quote(m)
	}
	service := cmp.Or(p.Service, Placeholder)
	if !bare.MatchString(service) {
		service = quote(service)
	}
	return fmt.Sprintf("- {name: %s, match: [%s], service: %s}", name, strings.Join(quoted, ", "), service)
}

// quote is a YAML string in single quotes, in which a matcher keeps its
// backslashes.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
