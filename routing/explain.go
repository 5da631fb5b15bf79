package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"callchain/config"
)

// Explanation is the whole answer for one alert, as route test and the API
// give it. Every field is always present; no list is null.
type Explanation struct {
	Subject      string          `json:"subject"`
	Service      string          `json:"service"` // "" if none
	Named        string          `json:"named"`   // a name the catalog lacks
	Team         string          `json:"team"`    // of step 1
	State        string          `json:"state"`
	Assessment   string          `json:"assessment"`
	MissingRoles []string        `json:"missing_roles"`
	Urgency      string          `json:"urgency"`
	MatchedBy    string          `json:"matched_by"`
	Reason       string          `json:"reason"`
	Steps        []ExplainedStep `json:"steps"`
	Skipped      []ExplainedSkip `json:"skipped"`
	Risks        []string        `json:"risks"`
	Trace        []string        `json:"trace"`

	// For people only.
	also         []string
	confidential bool
	reviewAt     time.Time
	policy       string
	rounds       int
	remindEvery  time.Duration
}

// ExplainedStep is one step of the chain.
type ExplainedStep struct {
	Position         int      `json:"position"`
	AfterSeconds     float64  `json:"after_seconds"`
	AckWithinSeconds float64  `json:"ack_within_seconds"`
	Notify           string   `json:"notify"`
	Team             string   `json:"team"`
	People           []string `json:"people"`
	Reason           string   `json:"reason"`
}

// ExplainedSkip is a step that is not taken.
type ExplainedSkip struct {
	Notify string `json:"notify"`
	Reason string `json:"reason"`
}

// Explain puts a resolution and its chain into one answer.
func Explain(res Resolution, chain Chain) Explanation {
	e := Explanation{
		Subject:      res.Subject,
		Service:      res.Service,
		Named:        res.Named,
		State:        string(res.State),
		Assessment:   string(res.Assessment),
		MissingRoles: []string{},
		Urgency:      string(res.Urgency),
		MatchedBy:    res.MatchedBy,
		Reason:       res.Reason,
		Steps:        []ExplainedStep{},
		Skipped:      []ExplainedSkip{},
		Risks:        []string{},
		Trace:        append([]string{}, res.Trace...),
		also:         res.AlsoAffected,
		confidential: res.Confidential,
		reviewAt:     res.ReviewAt,
		policy:       chain.Policy,
		rounds:       chain.Rounds,
		remindEvery:  chain.RemindEvery,
	}
	for _, r := range res.MissingRoles {
		e.MissingRoles = append(e.MissingRoles, string(r))
	}
	for _, k := range slices.Concat(res.Risks, chain.Risks) {
		if !slices.Contains(e.Risks, string(k)) {
			e.Risks = append(e.Risks, string(k))
		}
	}
	for _, s := range chain.Steps {
		e.Steps = append(e.Steps, ExplainedStep{
			Position:         s.Position,
			AfterSeconds:     s.After.Seconds(),
			AckWithinSeconds: s.AckWithin.Seconds(),
			Notify:           s.Notify,
			Team:             s.Team,
			People:           append([]string{}, s.People...),
			Reason:           s.Reason,
		})
	}
	for _, s := range chain.Skipped {
		e.Skipped = append(e.Skipped, ExplainedSkip(s))
	}
	if len(e.Steps) > 0 {
		e.Team = e.Steps[0].Team
	}
	return e
}

// riskWords say what a risk means for whoever reads it at night.
var riskWords = map[Risk]string{
	RiskUnowned:          "nobody owns this service; whoever answers may find no help",
	RiskPartial:          "some required role has no owner",
	RiskUnknownService:   "a service was named that the catalog lacks; add it, or an alias",
	RiskUnmapped:         "no service was named; add a service label, a matcher or a rule",
	RiskDecommissioned:   "this service is gone; the alerting rule is probably stale",
	RiskNobodyOnCall:     "nobody is on call where somebody should be",
	RiskSinglePerson:     "the whole chain rests on one person",
	RiskExhausted:        "everybody was asked and nobody answered",
	RiskUnreachable:      "somebody in the chain cannot be reached over any channel",
	RiskAmbiguousMatch:   "two services claim this alert; make one's matchers stricter",
	RiskMissingReference: "the catalog or a rule names something that does not exist",
	RiskWrongOwner:       "a responder said that the owner is wrong",
	RiskHeroics:          "somebody outside the owning teams answered",
}

// Text is the explanation for a terminal: what, why, how well owned, whom and
// when, what not and why not, what is at risk, how it was found.
//
// Names that came with the alert cannot steer the terminal: control characters
// are shown, not sent.
func (e Explanation) Text() string {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", key, config.OneLine(fmt.Sprintf(format, args...)))
	}
	line("Subject", "%s", e.Subject)
	line("Why", "%s (%s)", e.Reason, e.MatchedBy)
	if e.Named != "" {
		line("Named", "%q, which the catalog lacks", e.Named)
	}
	if len(e.also) > 0 {
		line("Also hit", "%s", strings.Join(e.also, ", "))
	}
	if e.State != "" {
		line("Assessment", "%s (state %s)", e.Assessment, e.State)
	} else {
		line("Assessment", "%s", e.Assessment)
	}
	if len(e.MissingRoles) > 0 {
		line("Missing", "%s", strings.Join(e.MissingRoles, ", "))
	}
	line("Urgency", "%s", e.urgencyWords())
	if !e.reviewAt.IsZero() {
		line("", "looked at again at %s, when it may be one higher", e.reviewAt.UTC().Format("2006-01-02 15:04 UTC"))
	}
	if e.confidential {
		line("Confidential", "yes: never shown to volunteers, guests or outgoing webhooks")
	}

	b.WriteString(e.ChainText())
	if len(e.Risks) > 0 {
		b.WriteString("\nRisks\n")
		for _, k := range e.Risks {
			fmt.Fprintf(&b, "  - %s: %s\n", k, riskWords[Risk(k)])
		}
	}
	if len(e.Trace) > 0 {
		b.WriteString("\nHow it was found\n")
		for i, t := range e.Trace {
			fmt.Fprintf(&b, "  %d. %s\n", i+1, config.OneLine(t))
		}
	}
	return b.String()
}

// ChainText is the part of Text that tells whom, when, and who not.
func (e Explanation) ChainText() string {
	var b strings.Builder
	if len(e.Steps) > 0 {
		head := "Chain"
		if !config.Urgency(e.Urgency).Pages() {
			head = "Chain, if it were to page"
		}
		fmt.Fprintf(&b, "\n%s (policy %s%s)\n", head, config.OneLine(cmp.Or(e.policy, config.DefaultPolicyName)), e.roundWords())
		for _, s := range e.Steps {
			when := "at once"
			if s.AfterSeconds > 0 {
				when = "after " + shortTime(s.AfterSeconds)
			}
			whom := strings.Join(s.People, ", ")
			if s.Team != "" {
				whom += " of " + s.Team
			}
			fmt.Fprintf(&b, "  %d. %s: %s; %s to answer\n", s.Position, when, config.OneLine(whom), shortTime(s.AckWithinSeconds))
			fmt.Fprintf(&b, "     %s: %s\n", config.OneLine(s.Notify), config.OneLine(s.Reason))
		}
	}
	if len(e.Skipped) > 0 {
		b.WriteString("\nSkipped\n")
		for _, s := range e.Skipped {
			fmt.Fprintf(&b, "  - %s: %s\n", config.OneLine(s.Notify), config.OneLine(s.Reason))
		}
	}
	return b.String()
}

func (e Explanation) urgencyWords() string {
	switch config.Urgency(e.Urgency) {
	case config.Notify:
		return "notify: nobody is paged; the team's board and e-mail get one message"
	case config.Record:
		return "record: nobody is paged and nothing is sent; it is counted in reports"
	}
	return e.Urgency + ": people are paged, step by step, until one acknowledges"
}

func (e Explanation) roundWords() string {
	out := ""
	switch {
	case e.rounds == 1:
		out = ", one round"
	case e.rounds > 1:
		out = fmt.Sprintf(", %d rounds", e.rounds)
	}
	if e.remindEvery > 0 {
		out += ", reminder every " + shortTime(e.remindEvery.Seconds())
	}
	return out
}

// shortTime writes 300 as 5m and 5400 as 1h30m.
func shortTime(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
