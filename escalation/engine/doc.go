// Package engine is the shell around the pure core: it takes webhooks and
// presses to the store, claims what is due, sends it and records what came of it.
//
// One change is always the same: load the records, let escalation decide, mark
// what is due as being sent (escalation.Take), commit all of it in one
// transaction, and only then send. A conflict means that somebody else was
// faster: load and decide again. A crash at any point leaves either nothing or a
// committed intent whose lease runs out, so that it is taken up again.
//
// Records, each in the partition of its group (the first byte of its id):
//
//	g/GROUP        escalation.Group: which incidents the group's alerts belong to
//	i/ID           escalation.Incident, open or able to fire again
//	c/ID           escalation.Incident, archived: so that lists of open ones stay
//	               short. None comes back from there, so no key is used twice.
//	n/ID           a notice: callchain speaking about itself
//	f/DAY/SUBJECT  report.Facts: what happened to a subject's alerts of a day
//	r/ID           the weekly report of one period to one recipient
//	k/HASH         escalation.Desk: which incidents paged a person within the last minute
//	m/ID           a digest: the incidents beyond those, in the partition of the desk
//	t/slack        escalation.Allowance: what Slack takes from all processes together (partition 0)
//	b/HASH         escalation.Heartbeat: an alert that must keep coming
//	q/KEY          a record of this key that nobody could read, as it was
//	p/weekly       when the weekly report is due (partition 0)
//	a/ID           the id of the incident that an island's ID turned out to be
//	p/witness/SOURCE  escalation.Watch: when Alertmanager is asked, and what it said (partition 0)
//	d/SERVICE/ALERT  the day on which a decommissioned service's alert was paged about
package engine
