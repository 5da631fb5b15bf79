package online

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// The parts of Alertmanager's configuration that concern callchain, read
// tolerantly: it is Alertmanager's to check, and versions differ.
type amConfig struct {
	Global struct {
		HTTP *amHTTP `yaml:"http_config"`
	} `yaml:"global"`
	Route     *amRoute     `yaml:"route"`
	Receivers []amReceiver `yaml:"receivers"`
}

type amRoute struct {
	Receiver       string            `yaml:"receiver"`
	GroupBy        []string          `yaml:"group_by"`
	Continue       bool              `yaml:"continue"`
	Match          map[string]string `yaml:"match"`
	MatchRE        map[string]string `yaml:"match_re"`
	Matchers       []string          `yaml:"matchers"`
	GroupWait      string            `yaml:"group_wait"`
	GroupInterval  string            `yaml:"group_interval"`
	RepeatInterval string            `yaml:"repeat_interval"`
	Mute           []string          `yaml:"mute_time_intervals"`
	Active         []string          `yaml:"active_time_intervals"`
	Routes         []*amRoute        `yaml:"routes"`
}

type amReceiver struct {
	Name     string         `yaml:"name"`
	Webhooks []amWebhook    `yaml:"webhook_configs"`
	Others   map[string]any `yaml:",inline"`
}

type amWebhook struct {
	URL          string  `yaml:"url"`
	URLFile      string  `yaml:"url_file"`
	SendResolved *bool   `yaml:"send_resolved"`
	MaxAlerts    uint64  `yaml:"max_alerts"`
	Timeout      *string `yaml:"timeout"` // nil: this version has none
	Payload      any     `yaml:"payload"`
	HTTP         *amHTTP `yaml:"http_config"`
}

type amHTTP struct {
	Authorization *struct {
		Type string `yaml:"type"`
	} `yaml:"authorization"`
	BearerToken     string `yaml:"bearer_token"`
	BearerTokenFile string `yaml:"bearer_token_file"`
	BasicAuth       any    `yaml:"basic_auth"`
	OAuth2          any    `yaml:"oauth2"`
}

// readAlertmanager reads the configuration as Alertmanager prints it.
func readAlertmanager(text string) (*amConfig, error) {
	var c amConfig
	err := yaml.Unmarshal([]byte(text), &c)
	if _, odd := errors.AsType[*yaml.TypeError](err); err != nil && !odd {
		return nil, err // what merely has another shape than ours is left out
	}
	if c.Route == nil {
		return nil, errors.New("it has no route")
	}
	return &c, nil
}

// node is a route with what it inherits.
type node struct {
	path     string // where it stands: route.routes[1]
	parent   *node
	children []*node
	own      labels.Matchers
	vague    bool // some matcher could not be read
	cont     bool

	receiver               string
	groupBy                []string
	wait, interval, repeat time.Duration
	limited                []string // names of its mute and active time intervals
}

// routes builds the tree with Alertmanager's defaults and inheritance.
func (c *amConfig) routes() *node {
	return build(c.Route, &node{wait: 30 * time.Second, interval: 5 * time.Minute, repeat: 4 * time.Hour}, nil, "route")
}

func build(r *amRoute, from, parent *node, path string) *node {
	n := &node{
		path: path, parent: parent, cont: r.Continue,
		receiver: from.receiver, groupBy: from.groupBy, wait: from.wait, interval: from.interval, repeat: from.repeat,
		limited: append(slices.Clone(r.Mute), r.Active...), // alone these are not inherited
	}
	if r.Receiver != "" {
		n.receiver = r.Receiver
	}
	if r.GroupBy != nil {
		n.groupBy = slices.Sorted(slices.Values(r.GroupBy))
	}
	for _, d := range []struct {
		text string
		to   *time.Duration
	}{{r.GroupWait, &n.wait}, {r.GroupInterval, &n.interval}, {r.RepeatInterval, &n.repeat}} {
		if v, err := model.ParseDuration(d.text); err == nil {
			*d.to = time.Duration(v)
		}
	}
	n.readMatchers(r)
	for i, child := range r.Routes {
		if child != nil {
			n.children = append(n.children, build(child, n, n, fmt.Sprintf("%s.routes[%d]", path, i)))
		}
	}
	return n
}

func (n *node) readMatchers(r *amRoute) {
	if n.parent == nil {
		return // the root matches everything
	}
	add := func(m *labels.Matcher, err error) {
		if err != nil {
			n.vague = true
			return
		}
		n.own = append(n.own, m)
	}
	for name, value := range r.Match {
		add(labels.NewMatcher(labels.MatchEqual, name, value))
	}
	for name, value := range r.MatchRE {
		add(labels.NewMatcher(labels.MatchRegexp, name, value))
	}
	for _, text := range r.Matchers {
		ms, err := parse.Matchers(text)
		if err != nil {
			ms, err = labels.ParseMatchers(text)
		}
		if err != nil {
			n.vague = true
			continue
		}
		n.own = append(n.own, ms...)
	}
	slices.SortFunc(n.own, func(a, b *labels.Matcher) int { return strings.Compare(a.String(), b.String()) })
}

// String is the place of the route and what it matches.
func (n *node) String() string {
	if len(n.own) == 0 {
		return n.path
	}
	return n.path + " " + n.own.String()
}

// always: every alert that comes to the route's parent matches it.
func (n *node) always() bool { return len(n.own) == 0 && !n.vague }

// delivers tells whether an alert can be delivered by this route itself: it is
// reached, and its children leave something over.
func (n *node) delivers() bool {
	if slices.ContainsFunc(n.children, (*node).always) {
		return false
	}
	for ; n.parent != nil; n = n.parent {
		for _, sibling := range n.parent.children {
			if sibling == n {
				break
			}
			if sibling.always() && !sibling.cont {
				return false
			}
		}
	}
	return true
}

// match returns the routes that deliver an alert with these labels.
func (n *node) match(set model.LabelSet) []*node {
	if !n.own.Matches(set) {
		return nil
	}
	var all []*node
	for _, child := range n.children {
		found := child.match(set)
		all = append(all, found...)
		if len(found) > 0 && !child.cont {
			break
		}
	}
	if len(all) == 0 {
		all = []*node{n}
	}
	return all
}

// walk calls f for the route and all below it.
func (n *node) walk(f func(*node)) {
	f(n)
	for _, child := range n.children {
		child.walk(f)
	}
}

// ancestry is the route and all above it, the root first.
func (n *node) ancestry() []*node {
	var up []*node
	for ; n != nil; n = n.parent {
		up = append(up, n)
	}
	slices.Reverse(up)
	return up
}

// bothTake tells whether two routes may deliver the same alert; the first stands
// before the second.
func bothTake(a, b *node) bool {
	up, other := a.ancestry(), b.ancestry()
	i := 0
	for i < len(up) && i < len(other) && up[i] == other[i] {
		i++
	}
	if i == len(up) || i == len(other) {
		return false // one stands below the other, and takes what that one would
	}
	if !up[i].cont {
		return false
	}
	var all labels.Matchers
	for _, n := range append(up, other...) {
		all = append(all, n.own...)
	}
	return satisfiable(all)
}

var literals = regexp.MustCompile(`^\(?[a-zA-Z0-9_ /:-]+(\|[a-zA-Z0-9_ /:-]+)*\)?$`)

// satisfiable tells whether some alert could match all of them, as far as that
// is plain: a label has one value.
func satisfiable(all labels.Matchers) bool {
	for _, m := range all {
		var values []string
		switch {
		case m.Type == labels.MatchEqual:
			values = []string{m.Value}
		case m.Type == labels.MatchRegexp && literals.MatchString(m.Value):
			values = strings.Split(strings.Trim(m.Value, "()"), "|")
		default:
			continue
		}
		if !slices.ContainsFunc(values, func(v string) bool {
			return !slices.ContainsFunc(all, func(other *labels.Matcher) bool { return other.Name == m.Name && !other.Matches(v) })
		}) {
			return false
		}
	}
	return true
}

// hook is a webhook of a receiver.
type hook struct {
	receiver string
	amWebhook
}

const webhookPath = "/api/v1/webhook/alertmanager/"

// source is the source that a webhook's URL names. Alertmanager shows URLs up to
// version 0.25 only; hidden is one that cannot be seen.
func (h hook) source() (name string, hidden bool) {
	if h.URL == "<secret>" || h.URL == "" && h.URLFile != "" {
		return "", true
	}
	u, err := url.Parse(h.URL)
	if err != nil {
		return "", false
	}
	if _, name, ours := strings.Cut(u.Path, webhookPath); ours {
		return strings.TrimSuffix(name, "/"), false
	}
	return "", false
}

// aboutUs is an alert that callchain is down; anything is any other.
var (
	aboutUs  = model.LabelSet{"alertname": "CallchainDown", "job": "callchain", "severity": "critical"}
	anything = model.LabelSet{"alertname": "Any", "severity": "critical"}
)

// ours are the webhooks that post to callchain as one of its sources.
type ours struct {
	hooks  []hook
	guess  string   // why they are taken for callchain's; "" when their URLs say so
	others []string // sources of callchain that other webhooks post as
	hidden []string // receivers that have a webhook whose URL is hidden
}

// findOurs takes those whose URL says so, else those that can be taken for them,
// and says why. The receiver that alerts about callchain itself go to, and no
// others, is not callchain, whatever its name.
func (c *amConfig) findOurs(source string, root *node) (o ours) {
	around := receivers(root.match(aboutUs))
	for _, name := range receivers(root.match(anything)) {
		around = slices.DeleteFunc(around, func(a string) bool { return a == name })
	}
	var masked []hook
	for _, r := range c.Receivers {
		for _, w := range r.Webhooks {
			if w.HTTP == nil {
				w.HTTP = c.Global.HTTP
			}
			h := hook{r.Name, w}
			switch name, hidden := h.source(); {
			case hidden && slices.Contains(around, r.Name):
			case hidden:
				masked = append(masked, h)
				o.hidden = append(o.hidden, r.Name)
			case name == source:
				o.hooks = append(o.hooks, h)
			case name != "":
				o.others = append(o.others, name)
			}
		}
	}
	o.hidden, o.others = unique(o.hidden), unique(o.others)
	if len(o.hooks) > 0 {
		return o
	}
	for _, h := range masked {
		if strings.Contains(strings.ToLower(h.receiver), "callchain") {
			o.hooks = append(o.hooks, h)
			o.guess = "by its name"
		}
	}
	if len(o.hooks) == 0 && len(o.hidden) == 1 && len(o.others) == 0 {
		o.hooks, o.guess = masked, "because it is the only receiver with a hidden URL"
	}
	return o
}

// receivers are the names of the receivers of routes.
func receivers(nodes []*node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.receiver)
	}
	return unique(names)
}

// receivers are the names of the receivers that have the hooks.
func (o ours) receivers() []string {
	var names []string
	for _, h := range o.hooks {
		names = append(names, h.receiver)
	}
	return unique(names)
}

// empty tells that a receiver tells nobody.
func (r amReceiver) empty() bool {
	if len(r.Webhooks) > 0 {
		return false
	}
	for name, v := range r.Others {
		list, _ := v.([]any)
		if strings.HasSuffix(name, "_configs") && len(list) > 0 {
			return false
		}
	}
	return true
}
