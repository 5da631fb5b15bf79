// Package demo is the page of "callchain demo": prepared alerts to fire, the
// inboxes of invented people in place of Slack and mail, and the incidents as
// callchain's API tells them.
//
// It has no back door. Firing posts a webhook with the source's token, pressing
// a button sends Slack's signed request, and the links in mails are the real
// ones. The incidents come from a function that main gives it.
//
// The page works without script: forms post and redirect. With script it
// follows the changes over server-sent events and swaps only what changed.
// Everything shown was written by somebody else, an alert's author or a
// template, so it goes through html/template and a strict content security
// policy, and the HTML of mails into a sandboxed frame of its own.
package demo
