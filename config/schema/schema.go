// Package schema holds the JSON Schemas (draft-07) of callchain.yml and of the
// catalog's files, with which editors complete keys, show what they mean and
// underline mistakes while one types. It stands beside config, whose types and
// whose documentation the schemas are made from: the package's test does it
// (go test ./config/schema -update) and fails when they are out of date.
//
// A schema tells shapes. What names what, and who may own, callchain
// check-config and callchain catalog lint tell.
package schema

import _ "embed"

// Config is the schema of callchain.yml.
//
//go:embed callchain.schema.json
var Config []byte

// Catalog is the schema of a file of the catalog.
//
//go:embed catalog.schema.json
var Catalog []byte
