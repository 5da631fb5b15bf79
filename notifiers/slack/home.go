package slack

import "github.com/slack-go/slack"

// Home is where the app lives. What Slack did not tell is "".
type Home struct{ TeamID, EnterpriseID string }

// Home returns what the last probe found.
func (n *Notifier) Home() Home {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.home
}

func (n *Notifier) learn(answer *slack.AuthTestResponse) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.home = Home{answer.TeamID, answer.EnterpriseID}
}

// Foreign tells whether a press comes from a workspace that is certainly not the
// app's. An app of a whole organisation gets presses of all its workspaces.
func (h Home) Foreign(in Interaction) bool {
	switch {
	case h.EnterpriseID != "" && in.EnterpriseID != "":
		return h.EnterpriseID != in.EnterpriseID
	case h.TeamID != "" && in.TeamID != "":
		return h.TeamID != in.TeamID
	}
	return false
}
