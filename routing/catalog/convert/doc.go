// Package convert turns what other tools and wikis know about ownership into a
// catalog file of callchain: Backstage's entities, Datadog's entity definitions,
// and tables such as a wiki's page of maintainers.
//
// Files come in as bytes, a catalog file goes out as text that people then keep
// by hand. Three things are promised about it: config.ParseCatalog and
// catalog.New take it without an error; every value that the source does not say
// is marked as a guess on its line and is a Note; and nothing of the source that
// is about ownership is dropped without a word. What a single value must look
// like is asked of config, what a state requires of routing/catalog: neither rule
// stands here again.
//
// No person becomes an owner here, whatever the source says.
package convert
