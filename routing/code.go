package routing

import "callchain/config"

// The codes of what a configuration and a catalog come to together;
// docs/lint.md tells each.
const (
	CodePolicy    config.Code = "CC0206" // a policy that does not exist
	CodeReference config.Code = "CC0207" // callchain.yml names a team or person the catalog lacks
	CodeTie       config.Code = "CC0601" // two services claim the same alerts
	CodeYield     config.Code = "CC0604" // a rule names a service the catalog lacks
	CodeFallback  config.Code = "CC0707" // a fallback team that cannot answer
)
