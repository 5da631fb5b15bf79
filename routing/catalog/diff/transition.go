package diff

import (
	"callchain/config"
)

// none stands for a service that is not in the catalog: before its launch, after
// its deletion.
const none config.State = ""

// verdict is what the policy says about one move between two states.
type verdict struct {
	severity Severity
	reason   string // why the policy sees it so
	remedy   string // what to do instead; "" where nothing is wrong
}

func usual(reason string) verdict          { return verdict{Info, reason, ""} }
func rare(reason, ask string) verdict      { return verdict{Warning, reason, ask} }
func never(reason, instead string) verdict { return verdict{Error, reason, instead} }

// What more than one move has in common.
const (
	ours = "third_party is for what others write, and this was written here"
)

// moves are the transitions of the ownership policy that have reasons of their
// own; what is not here is an error for one of the common reasons, see judge.
var moves = map[config.State]map[config.State]verdict{
	none: {
		config.Active:     usual("a new service begins with a team in every role"),
		config.Community:  usual("volunteers may write it, as long as teams stand behind them for contingency, deployment, incidents and product"),
		config.ThirdParty: usual("those who deploy the software of others answer for it here"),
		config.Maintenance: rare("a new service that nobody develops any more is unusual",
			"say in the review why it is launched without developers"),
		config.Unowned: never("nothing is launched without owners",
			"name owners and a state that they can hold; if it was found running, not launched, write legacy: {since: DAY, reason: TEXT}"),
		config.Decommissioned: never("what is gone already cannot be launched",
			"leave the entry out, or give the state it is really in"),
	},
	config.Active: {
		config.Community:   usual("volunteers take the development on, and contingency developers stand behind them"),
		config.Maintenance: usual("development has ended, and somebody still mends it in an emergency"),
		config.ThirdParty:  never(ours, "move it to maintenance, or to decommissioned when something else replaces it"),
		config.Decommissioned: rare("what is still developed seldom ends from one day to the next",
			"say in the review who still uses it and what replaces it; the usual way leads through maintenance"),
	},
	config.Community: {
		config.Active:      usual("a team takes the development on"),
		config.Maintenance: usual("the volunteers have stopped, and the contingency developers still mend it in an emergency"),
		config.ThirdParty:  never(ours, "move it to maintenance, or to decommissioned when something else replaces it"),
		config.Decommissioned: rare("what volunteers still work on seldom ends from one day to the next",
			"say in the review who still uses it and what the volunteers were told; the usual way leads through maintenance"),
	},
	config.Maintenance: {
		config.Active: usual("a team develops it again"),
		config.Community: rare("volunteers seldom pick up what a team has laid down",
			"say in the review who they are, and who stands behind them in an emergency"),
		config.ThirdParty:     never(ours, "leave it in maintenance, or decommission it when something else replaces it"),
		config.Decommissioned: usual("what is no longer needed ends in maintenance, where nobody builds on it any more"),
	},
	config.ThirdParty: {
		config.Active: rare("developing the software of others ourselves is a promise for years",
			"say in the review why it is taken over, and who agreed to develop it"),
		config.Maintenance: rare("it is now ours to mend, without anybody developing it",
			"say in the review why it is taken over, and who mends it in an emergency"),
		config.Community: never("volunteers here do not take over what others write without a team that did so first",
			"move it to active or maintenance first, with a team that took it over"),
		config.Decommissioned: usual("what nobody here uses any more is switched off"),
	},
	config.Unowned: {
		config.Maintenance: usual("this is the shortest way back to owners: nobody has to promise development"),
		config.Active: rare("a service without owners seldom comes back as one with developers at once",
			"say in the review which team took it on, and since when it knows the service"),
		config.Community: rare("volunteers are seldom the first to come back",
			"say in the review who they are, and who stands behind them in an emergency"),
		config.ThirdParty: rare("what nobody owned now counts as the software of others",
			"say in the review who writes it"),
		config.Decommissioned: rare("what nobody owns may still be used by somebody",
			"say in the review how it was found out that nobody needs it"),
	},
	config.Decommissioned: {
		none: usual("it is gone, and nothing alerts for it any more"),
	},
}

// judge says what the policy thinks of a service that moves between two
// different states; none before a launch and after a deletion. What the policy
// does not name it refuses.
func judge(from, to config.State) verdict {
	if v, ok := moves[from][to]; ok {
		return v
	}
	switch {
	case to == none:
		return never("its alerts would find nobody from now on",
			"keep the entry and move it to "+wayOut(from)+"; if it only has a new name, list the old one under aliases of the new entry")
	case from == config.Decommissioned:
		return never("what is decommissioned does not come back: its owners, alerts and promises ended",
			"keep this entry, and launch a service under a new name")
	case to == config.Unowned:
		return never("a team hands a service over, it does not drop it",
			"find the next owners, or move it to "+wayOut(from))
	}
	return never("the policy knows no such move", "keep the state "+word(from))
}

// wayOut is how a service ends that nobody wants to own.
func wayOut(from config.State) string {
	switch from {
	case config.Active, config.Community:
		return "maintenance (where a director may hold contingency development vacant), later to decommissioned"
	case config.Unowned:
		return "maintenance or decommissioned"
	}
	return "decommissioned"
}
