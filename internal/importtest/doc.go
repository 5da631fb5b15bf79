// Package importtest holds the table of who may import whom, and its test
// holds the tree to it.
//
// Arrows run downwards only:
//
//	cmd -> internal/server -> escalation/engine -> notifiers, escalation -> routing -> config
//
// routing and escalation are pure: they import neither network, files, logger
// nor store, and never ask what time it is; an instant is an argument. What
// each outside library is wrapped in is part of the table too: one package
// speaks Slack, one speaks SMTP.
//
// A package that is not in the table is an error: whoever adds one says where
// it stands. docs/decisions/0001-the-house.md says why.
package importtest
