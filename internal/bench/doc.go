// Package bench measures the whole of callchain against the targets of
// docs/performance.md: webhooks over real HTTP into real stores, pages out to an
// HTTP server that stands in for Slack, timers and starts with many open
// incidents. There is nothing in it but benchmarks, so no other package can
// import it; what concerns one package alone is measured in that package.
//
// A rate says little on a machine that others use too. Each benchmark therefore
// measures, right before and right after, what the machine does without
// callchain, and reports the ratio to that.
package bench
