package slack

// Scope is something that Slack must have granted the app.
type Scope struct {
	Name    string
	Without string // what does not work without it
	Vital   bool   // without it somebody is not paged
	Extra   bool   // not in the manifests: for those who want what it buys
}

// Scopes are all that callchain makes use of. The manifests of deploy/slack ask
// for those that are not extra.
var Scopes = []Scope{
	{Name: "chat:write", Vital: true, Without: "no page and no board can be posted"},
	{Name: "users:read.email", Vital: true, Without: "people without a slack id in the catalog are not found by their e-mail address, and not paged in Slack"},
	{Name: "users:read", Without: "guests, bots and strangers who press a button are not told apart from members"},
	{Name: "im:history", Without: "a page of which it is in doubt whether it arrived is not looked for, and comes twice"},
	{Name: "im:write", Without: "a page of which it is in doubt whether it arrived is not looked for before the first one to that person arrived, and comes twice"},
	{Name: "channels:read", Without: "that a board's channel was renamed or archived, or who else reads it, is not seen"},
	{Name: "groups:read", Without: "the same of private channels"},
	{Name: "commands", Without: "nobody can type /callchain"},
	{Name: "usergroups:read", Extra: true, Without: "user groups cannot be looked at here"},
	{Name: "chat:write.public", Extra: true, Without: "callchain must be invited to every channel with a board"},
	{Name: "channels:history", Extra: true, Without: "a board of which it is in doubt whether it arrived is not looked for, and stands there twice"},
	{Name: "groups:history", Extra: true, Without: "the same for boards in private channels"},
}
