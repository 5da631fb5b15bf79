// Package inbox stands in for Slack and for the smarthost: in the demo, where
// its messages are shown on a page, and in tests.
//
// Slack is an http.Handler with the Web API methods that callchain calls. It is
// as strict as Slack is documented to be, and its errors have Slack's names, so
// that a message which Slack would refuse is refused here too. A press of a
// button, a form that is sent off and a typed command take the real way back: a
// signed request to the callback URL.
// Mailbox is an SMTP server that keeps what it is sent.
//
// Both record what they accept, tell subscribers of every change, keep a
// bounded number of messages in memory and nothing on disk, and can be told to
// fail. They check callchain's side of the talk only: who may see or press what
// in a workspace is not modelled beyond what callchain relies on.
package inbox
