// Package server is every door of the daemon that speaks HTTP: the webhook
// intake, Slack's callbacks, the links in mails, the JSON API, the pages and
// the daemon's own health.
//
// It authenticates, decodes, calls the engine once and says truthfully what
// came of it: whatever answers 200 has been stored before. It decides nothing
// about incidents, owners or messages, and keeps nothing but caches.
//
// Two handlers are built. The public one has what must be reachable from
// outside (/slack/, /ack/, /-/healthy), the private one everything else; without
// an address of its own for the public one, one handler serves both.
package server
