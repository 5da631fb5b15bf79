// Package fault names places at which a test may end the process: where it would
// be worst. In a binary that is built with the tag "faultpoints", a process that
// comes to the place that the file named by CALLCHAIN_FAULT holds removes that
// file and ends at once with status 137, as after kill -9. In every other binary
// a place is nothing at all.
package fault
