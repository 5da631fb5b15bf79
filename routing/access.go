package routing

import "callchain/routing/catalog"

// Catalog is the catalog that the router was compiled from.
func (r *Router) Catalog() *catalog.Catalog { return r.catalog }

// Fallback is the team that is asked when nobody else is left; never nil.
func (r *Router) Fallback() *catalog.Team { return r.fallback }
