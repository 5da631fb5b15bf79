// Package redis is the Store for several machines: a single Redis, one behind
// Sentinel, or a Cluster, from version 7.0 on; Valkey serves as well. Any number
// of processes may have it open.
//
// # The keys
//
// A partition is one hash tag, so that all of it is in one slot:
//
//	PREFIX:{p}:r  hash    id   -> header + data
//	                      ""   -> marker: whose store this is
//	PREFIX:{p}:w  sorted  id   -> when it is due, in ms: the wake-up, or the end of a claim's lease
//	PREFIX:{p}:d  list    ids and marks of the last MarksKept deletions, newest first
//	PREFIX:{p}:s  hash    written before WAIT, so that it covers what was written before; not in every partition
//
// The header is that of the embedded store: CRC32C of partition, id and all that
// follows it, version, mark, wake-up; 28 bytes, big endian. No key expires, so
// an eviction policy of the volatile kind cannot touch them; one that evicts
// anything is refused at Open.
//
// # Writing
//
// A Txn is one script, which compares all versions and then writes all or
// nothing. It looks for the Txn's mark first: whoever lost the reply sends the
// same again. Each call does so by itself until its context ends or patience is
// over; the client library's own retries are off. A Txn that
// grows the store runs under a twin of the script that Redis refuses when its
// memory is full; all others may go over the limit.
//
// Every script compares the marker first. A partition without one was lost by the
// server: it is marked again, and Lost tells. One with another marker belongs to
// another installation now, and is left alone.
//
// Each store.Lane has connections of its own. Commits that wait for one travel together as one pipeline, each a
// script of its own. Nothing waits for company.
//
// # Claims
//
// What is due in a partition is its sorted set's first members. A Store
// remembers when each partition is due next, looks again at those that it
// changed, and at all of them every quarter of a second because of the others.
// A claim moves the scores of exactly what it saw; what somebody else moved in
// between stays theirs.
//
// Each node of a Cluster is asked on its own. Partitions that do not answer are
// put aside, and asked beside the claims until they do; the others go on.
//
// # Time
//
// Now is the TIME of the server that holds partition 0, carried on by the local
// monotonic clock between samples. No machine's wall clock but that one's
// matters. While it is away another node of the Cluster stands in, corrected by
// how much the two clocks differed: what counts is how fast it goes. When it is set
// back, or a server with an earlier clock takes over, Now goes on at nine tenths
// of its pace until the two agree: it neither runs backwards nor stands still.
//
// # What it does not do
//
// Redis replicates after it answered. What a master answered and had not passed
// on when it died is lost. Commit does not wait for replicas; who has to be sure
// calls Settle afterwards. See docs/redis.md for what may be lost all the same.
package redis
