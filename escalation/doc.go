// Package escalation is the state machine of an incident: the alerts of one
// Alertmanager group that have one subject, whom they have woken, and whether
// somebody answered.
//
// It is pure. Ingest sorts the alerts of a webhook into incidents; Step takes
// one incident through one event; Take marks what is due as being sent. All
// three are functions of their arguments and a given instant, and total: a late
// or repeated event changes nothing. What has to be sent is part of the
// incident (its deliveries), so that "persist, arm the timer and intend to
// page" is one write. What people read is derived from the record when it is
// sent, never kept as text.
//
//	triggered ──ack──▶ acknowledged ──all alerts resolved──▶ resolved
//	    │  ▲ ▲ ▲            │ │ ▲                               │
//	    │  │ │ └─it expires─┘ │ └─ack─┐                         │
//	    │  │ └──its time is over──── snoozed (from either) ─────┤
//	    │  └────── fires again within reopen_within ────────────┘
//	    └─ step, step, …, last step of the last round: exhausted (a flag)
//
// A higher urgency starts the chain anew from step 1, also when acknowledged.
// What people ask for out of the chain's order is a Detour, which stands in place
// of the step that was reached and leads back to it, or Beside it, with a timer of
// its own where the chain's does not run.
//
// It refuses to do: reading a clock, talking to a store or a channel, deciding
// who owns what (routing does).
package escalation
