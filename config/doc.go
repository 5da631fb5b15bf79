// Package config turns callchain's YAML files into checked values.
//
// It is a leaf: everything else may import it, it imports nothing of callchain.
// It knows the shape of the configuration (callchain.yml) and of the catalog
// (people, teams, schedules, services), the place of every value in its file,
// and what a single value must look like. What the values mean together, such
// as which owner roles a lifecycle state requires, is the ownership policy and
// lives in routing/catalog.
//
// Every mistake is a Problem with file, line, column, what is wrong and what
// would be right; all of them are reported at once.
package config
