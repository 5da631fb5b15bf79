// Package demo holds what "callchain demo" runs on: an illustrative
// organisation, its configuration and prepared alerts. README.md says where
// they come from.
package demo

import "embed"

// Files are callchain.yml, catalog.yml and alerts.jsonl.
//
//go:embed callchain.yml catalog.yml alerts.jsonl
var Files embed.FS
