// Package strictslack is a Slack for tests that is as strict as Slack itself. It
// checks every request against what Slack documents (Block Kit's limits, required
// arguments, scopes, rate limits, single-use triggers), answers as Slack does,
// keeps what was posted, and fails the test when callchain sends what Slack would
// refuse, unless the test says with Allow that it means to.
//
//	ws := strictslack.New(t, strictslack.Config{
//		Users:    []strictslack.User{{ID: "U01JANE", Email: "jane@example.org"}},
//		Channels: []strictslack.Channel{{ID: "C01SRE", Name: "sre", Member: true}},
//	})
//	... notifiers.slack.api_url: ws.APIURL, bot token: ws.BotToken ...
//	ws.Fault("chat.postMessage", strictslack.CutAfter) // accepted, the answer is lost
//	ws.Messages("U01JANE")                             // what Jane sees now
//
// Some requests are legal and still wrong for a pager: names that Slack would look
// for in the text, links it would unfurl, blocks without a text for the phone's
// screen. They fail the test too.
//
// CheckMessage and CheckView are the rules for blocks alone, for tests that render
// and do not send. Nothing of slack-go and nothing of callchain is in here: what
// it knows, it knows from Slack's documentation.
package strictslack
