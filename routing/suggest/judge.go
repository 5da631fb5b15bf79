package suggest

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
)

// Outcome is whether the alerts of a rule will reach a service.
type Outcome string

// The outcomes.
const (
	Reaches Outcome = "service"    // by labels that they surely carry
	Depends Outcome = "depends"    // on a label whose value the rule does not tell
	Misses  Outcome = "no_service" // unless their series carry labels that the rule does not mention
)

// Verdict is what will become of one alerting rule's alerts.
type Verdict struct {
	File     string            `json:"file"`
	Line     int               `json:"line"`
	Group    string            `json:"group"`
	Alert    string            `json:"alert"`
	Outcome  Outcome           `json:"outcome"`
	Subjects []string          `json:"subjects"` // by the labels that are known; several when the rule has alternatives
	Reason   string            `json:"reason"`
	Labels   map[string]string `json:"labels"`  // that the alerts surely carry
	Unknown  []string          `json:"unknown"` // labels that they carry, with values that the rule does not tell
	Open     bool              `json:"open"`    // their series may carry further labels
	Unread   string            `json:"unread"`  // why the expression was not understood; "" when it was
}

// Judgement is about all rules that were given.
type Judgement struct {
	Rules     int        `json:"rules"`
	Reaches   int        `json:"to_service"`
	Depends   int        `json:"depends"`
	Misses    int        `json:"no_service"`
	Verdicts  []Verdict  `json:"verdicts"`
	Proposals []Proposal `json:"proposals"` // for those that do not reach a service
}

// Judge tells of alerting rules which will reach a service under a configuration
// and what would help the others. It knows the labels that stand in the rules:
// given, matched by equality, or kept by an aggregation. What a Prometheus adds
// (external_labels, relabelling) and what its series carry besides is not known
// here, and a label that is not mentioned counts as absent.
func Judge(cfg *config.Config, router *routing.Router, rules []AlertingRule) Judgement {
	j := Judgement{Rules: len(rules), Verdicts: []Verdict{}}
	ways := waysOf(cfg, router)
	var seen []Seen
	for _, r := range rules {
		v, service := judge(ways, router, r)
		switch v.Outcome {
		case Reaches:
			j.Reaches++
		case Depends:
			j.Depends++
		default:
			j.Misses++
		}
		if v.Outcome == Misses || service != "" {
			seen = append(seen, Seen{Labels: v.Labels, Service: service, File: r.Pos.File})
		}
		j.Verdicts = append(j.Verdicts, v)
	}
	j.Proposals = Propose(router.Catalog(), seen)
	return j
}

// judge also gives the service that the alerts surely reach.
func judge(ways []way, router *routing.Router, r AlertingRule) (Verdict, string) {
	v := Verdict{
		File: r.Pos.File, Line: r.Pos.Line, Group: r.Group, Alert: r.Name,
		Outcome: Reaches, Subjects: []string{}, Unknown: []string{},
	}
	sets, err := labelsOf(r.Expr)
	if err != nil {
		v.Unread = err.Error()
		sets = []labelset{anything()}
	}
	service := ""
	for _, s := range sets {
		s = s.carried(r)
		res := router.Route(routing.Alert{Labels: s.present()}, time.Time{})
		v.Subjects = insert(v.Subjects, res.Subject)
		for name := range s.some {
			v.Unknown = insert(v.Unknown, name)
		}
		v.Open = v.Open || s.open
		if v.Labels == nil {
			v.Labels = s.present()
		}
		maps.DeleteFunc(v.Labels, func(name, value string) bool { return s.fixed[name] != value })

		if res.Service != "" {
			service = res.Service
			v.Reason = cmp.Or(v.Reason, res.Reason)
			continue
		}
		if by, label := open(ways, s); by != "" {
			if v.Outcome == Reaches {
				v.Outcome = Depends
				v.Reason = "It depends on the label " + label + ", whose value the rule does not tell: " + by + " may find a service."
			}
			continue
		}
		v.Outcome = Misses
		v.Reason = res.Reason
	}
	if len(v.Subjects) > 1 && v.Outcome == Misses && service != "" {
		v.Reason = "Only some of its alerts reach a service. " + v.Reason
	}
	if len(v.Subjects) > 1 || v.Outcome != Reaches {
		service = ""
	}
	return v, service
}

var (
	field    = regexp.MustCompile(`^\{\{-?\s*\$labels\.([A-Za-z_][A-Za-z0-9_]*)\s*-?\}\}$`)
	template = "{{"
)

// carried are the labels of a rule's alerts: those of the expression's result,
// then the rule's own.
func (s labelset) carried(r AlertingRule) labelset {
	out := s.clone()
	for name, text := range r.Labels {
		switch m := field.FindStringSubmatch(strings.TrimSpace(text)); {
		case m != nil:
			out.copyLabel(name, s, m[1])
		case strings.Contains(text, template):
			out.vary(name)
		default:
			out.fix(name, text)
		}
	}
	out.fix("alertname", r.Name)
	return out
}

// way is one way of the configuration to a service.
type way struct {
	name   string // as people know it
	match  config.MatcherSet
	label  string              // of service_labels: it must be there
	except []config.MatcherSet // but none of these may match
	reads  []string            // labels that its template reads
}

var reads = regexp.MustCompile(`\.([A-Za-z_][A-Za-z0-9_]*)`)

func waysOf(cfg *config.Config, router *routing.Router) []way {
	var all []way
	for i, r := range cfg.Routing.Rules {
		if r.Service.V == "" {
			continue
		}
		w := way{name: "rule " + cmp.Or(r.Name.V, "#"+strconv.Itoa(i+1)), match: r.Match}
		if strings.Contains(r.Service.V, template) {
			for _, m := range reads.FindAllStringSubmatch(r.Service.V, -1) {
				w.reads = append(w.reads, m[1])
			}
		}
		all = append(all, w)
	}
	for _, s := range router.Catalog().Services() {
		for _, set := range s.Alerts {
			if len(set) > 0 {
				all = append(all, way{name: "service " + s.Name + "'s own alerts", match: set})
			}
		}
	}
	for _, l := range cfg.Routing.ServiceLabels {
		all = append(all, way{name: "routing.service_labels", label: l.V, except: cfg.Routing.ServiceLabelsExcept})
	}
	return all
}

// open is a way that is still open although the known labels alone lead to no
// service, and the label on which it depends.
func open(ways []way, s labelset) (by, label string) {
	for _, w := range ways {
		if on := w.dependsOn(s); on != "" {
			return w.name, on
		}
	}
	return "", ""
}

// dependsOn is a label of unknown value that decides whether the way is taken;
// "" when it surely is not, or leads to no service.
func (w way) dependsOn(s labelset) string {
	if w.label != "" {
		if !hasKey(s.some, w.label) || slices.ContainsFunc(w.except, func(set config.MatcherSet) bool { a, _ := s.fitsAll(set); return a == yes }) {
			return ""
		}
		return w.label
	}
	all, on := s.fitsAll(w.match)
	if all != yes {
		return on
	}
	// It is taken for sure, and gave no service: unless what names it is unknown.
	for _, name := range w.reads {
		if hasKey(s.some, name) {
			return name
		}
	}
	return ""
}

// fitsAll is fits for a whole set; "" when the answer is no. Any series may have
// any job and instance: a set that would match by these alone does not count.
func (s labelset) fitsAll(set config.MatcherSet) (answer, string) {
	all, on := yes, ""
	told := len(set) == 0
	for _, m := range set {
		a, label := s.fits(m.V)
		told = told || s.fixed[m.V.Name] != "" || hasKey(s.some, m.V.Name)
		switch a {
		case no:
			return no, ""
		case maybe:
			all, on = maybe, cmp.Or(on, label)
		case yes:
		}
	}
	if all == maybe && !told {
		return no, ""
	}
	return all, on
}
