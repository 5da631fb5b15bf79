package escalation

import (
	"maps"
	"time"
)

// Allowance is what a channel takes from all processes together, bucket by bucket.
// Each process spends first, by what it knows, and adds what it spent to the
// record afterwards: so no message waits for the store. What several spend at the
// same instant beyond a bucket is a debt that all of them wait for.
type Allowance struct {
	Schema int                `json:"z"`
	Full   map[string]Instant `json:"f,omitempty"` // when a bucket is full again; those that are have no entry
	Holds  map[string]Instant `json:"h,omitempty"` // until then the channel wants to hear nothing more of it
}

// Rate is how a bucket fills.
type Rate struct {
	Every time.Duration // one more each
	Burst int           // at most
}

// Wait is how long a bucket takes until one can be taken of it that leaves reserve
// of them for others; 0 when that is now.
func (a Allowance) Wait(bucket string, r Rate, reserve int, now Instant) time.Duration {
	wait := time.Duration(0)
	if full := a.Full[bucket]; full > now {
		missing := time.Duration(full-now) * time.Millisecond
		wait = missing + r.Every - time.Duration(r.Burst-reserve)*r.Every
	}
	return max(wait, a.Held(bucket, now))
}

// Held is how long the channel wants to hear nothing of a bucket; 0 when it does not say so.
func (a Allowance) Held(bucket string, now Instant) time.Duration {
	return max(0, time.Duration(a.Holds[bucket]-now)*time.Millisecond)
}

// Spend takes n of a bucket, whether they are there or not.
func (a Allowance) Spend(bucket string, r Rate, n int, now Instant) Allowance {
	a.Full = maps.Clone(a.Full)
	if a.Full == nil {
		a.Full = map[string]Instant{}
	}
	a.Full[bucket] = max(a.Full[bucket], now).plus(time.Duration(n) * r.Every)
	return a
}

// Hold keeps a bucket closed until an instant.
func (a Allowance) Hold(bucket string, until Instant) Allowance {
	a.Holds = maps.Clone(a.Holds)
	if a.Holds == nil {
		a.Holds = map[string]Instant{}
	}
	a.Holds[bucket] = max(a.Holds[bucket], until)
	return a
}

// Tidy drops what says nothing any more.
func (a Allowance) Tidy(now Instant) Allowance {
	a.Schema = Schema
	a.Full, a.Holds = maps.Clone(a.Full), maps.Clone(a.Holds)
	over := func(_ string, at Instant) bool { return at <= now }
	maps.DeleteFunc(a.Full, over)
	maps.DeleteFunc(a.Holds, over)
	return a
}
