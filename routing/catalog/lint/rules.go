package lint

import (
	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// The codes of what only lint looks for; docs/lint.md tells each.
const (
	CodeNoManager     config.Code = "CC0401" // an owning team without an engineering manager
	CodeUnusedTeam    config.Code = "CC0402"
	CodeUnusedPerson  config.Code = "CC0403"
	CodeNoChannel     config.Code = "CC0404" // a person whom no configured channel reaches
	CodeGap           config.Code = "CC0501" // nobody on call at some time
	CodeUnusedRota    config.Code = "CC0502"
	CodeNeverMatches  config.Code = "CC0602" // a service's matchers that never decide
	CodeUnreachable   config.Code = "CC0603" // a rule that never decides
	CodeAbsent        config.Code = "CC0605" // matchers that match where the label is missing
	CodeMayTie        config.Code = "CC0606" // two services that may claim one alert
	CodeNobody        config.Code = "CC0701" // a chain that reaches nobody
	CodeNobodyOwn     config.Code = "CC0702" // the same, but for the fallback team
	CodeSinglePerson  config.Code = "CC0703"
	CodeVolunteerOnly config.Code = "CC0704"
	CodeAsleep        config.Code = "CC0705" // everybody sleeps at the same hour
	CodeHasty         config.Code = "CC0706" // less than a minute to answer
	CodeNoSLO         config.Code = "CC0801"
	CodeStale         config.Code = "CC0802" // verified long ago
	CodeUnverified    config.Code = "CC0803"
	CodeVerifiedBy    config.Code = "CC0804" // verified in the future, or by nobody there is
	CodeNoReason      config.Code = "CC0901" // a comment that ignores without a reason
	CodeIdle          config.Code = "CC0902" // a comment that ignores nothing
	CodeNoIgnoring    config.Code = "CC0903" // a comment that ignores what cannot be
)

// Rule is one kind of finding.
type Rule struct {
	Code     config.Code
	Severity config.Severity
	Title    string
	// Refused says that callchain does not load such a catalog, or does not start
	// with it. No comment and no flag makes that go away.
	Refused bool
}

// Rules are all kinds of findings, by code.
var Rules = []Rule{
	{config.CodeSyntax, config.Error, "not YAML", true},
	{config.CodeKey, config.Error, "unknown key", true},
	{config.CodeForm, config.Error, "a value of the wrong form", true},
	{config.CodeTwice, config.Error, "a key given twice", true},
	{config.CodeMissing, config.Error, "a required key is missing", true},
	{config.CodeValue, config.Error, "a value that cannot be meant", true},
	{config.CodeOdd, config.Warning, "a value that is probably not meant", false},
	{config.CodeUnbuilt, config.Warning, "a key without effect yet", false},

	{catalog.CodeName, config.Error, "a name or alias given twice", true},
	{catalog.CodePerson, config.Warning, "an unknown person", false},
	{catalog.CodeSchedule, config.Warning, "an unknown schedule", false},
	{catalog.CodeVolunteers, config.Warning, "unknown volunteers", false},
	{catalog.CodeShared, config.Warning, "two people behind one address", false},
	{routing.CodePolicy, config.Warning, "an unknown policy", false},
	{routing.CodeReference, config.Warning, "the configuration names what the catalog lacks", false},

	{catalog.CodeVolunteerOwns, config.Error, "a volunteer team as owner", true},
	{catalog.CodePersonOwns, config.Error, "a person as owner", true},
	{catalog.CodeOwner, config.Error, "an unknown owner", false},
	{catalog.CodeEmptyTeam, config.Error, "an owner without members", false},
	{catalog.CodeNotApplicable, config.Error, "a role that does not apply", true},
	{catalog.CodeVacancy, config.Error, "a vacancy where none can be", true},
	{catalog.CodeVacancyUnheld, config.Error, "a vacancy without director or reason", false},
	{catalog.CodeUnfilled, config.Warning, "a required role left out", false},

	{CodeNoManager, config.Warning, "an owner without engineering manager", false},
	{CodeUnusedTeam, config.Warning, "an unused team", false},
	{CodeUnusedPerson, config.Warning, "an unused person", false},
	{CodeNoChannel, config.Warning, "a person no channel reaches", false},

	{CodeGap, config.Warning, "a gap in a schedule", false},
	{CodeUnusedRota, config.Warning, "an unused schedule", false},

	{routing.CodeTie, config.Error, "two services tie", false},
	{CodeNeverMatches, config.Warning, "matchers that never decide", false},
	{CodeUnreachable, config.Warning, "a rule that never decides", false},
	{routing.CodeYield, config.Warning, "a rule names an unknown service", false},
	{CodeAbsent, config.Warning, "matchers that match a missing label", false},
	{CodeMayTie, config.Warning, "two services may tie", false},

	{CodeNobody, config.Error, "a chain that reaches nobody", false},
	{CodeNobodyOwn, config.Warning, "a chain without people of its own", false},
	{CodeSinglePerson, config.Warning, "a chain that rests on one person", false},
	{CodeVolunteerOnly, config.Warning, "a chain of volunteers only", false},
	{CodeAsleep, config.Warning, "everybody sleeps at once", false},
	{CodeHasty, config.Warning, "too little time to answer", false},
	{routing.CodeFallback, config.Error, "a fallback team that cannot answer", true},

	{CodeNoSLO, config.Warning, "a service without SLO", false},
	{CodeStale, config.Warning, "not verified for a year", false},
	{CodeUnverified, config.Warning, "never verified", false},
	{CodeVerifiedBy, config.Warning, "a doubtful verification", false},

	{CodeNoReason, config.Warning, "an ignore comment without a reason", false},
	{CodeIdle, config.Warning, "an ignore comment without effect", false},
	{CodeNoIgnoring, config.Warning, "an ignore comment that cannot be", false},
}

var byCode = func() map[config.Code]Rule {
	m := map[config.Code]Rule{}
	for _, r := range Rules {
		m[r.Code] = r
	}
	return m
}()

// RuleFor finds the rule of a code.
func RuleFor(code config.Code) (Rule, bool) {
	r, ok := byCode[code]
	return r, ok
}

func ruleOf(code config.Code) Rule {
	r, ok := byCode[code]
	if !ok {
		panic("lint: no rule for " + string(code))
	}
	return r
}

// incomplete tells whether something of a file was not read for it.
func incomplete(code config.Code) bool {
	switch code {
	case config.CodeSyntax, config.CodeKey, config.CodeForm, config.CodeTwice:
		return true
	}
	return false
}
