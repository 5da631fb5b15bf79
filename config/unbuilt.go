package config

// What the file may say already but callchain does not do yet. A key whose
// function is missing gives one warning; one without which nobody could be
// paged is refused. When a function is built its line here goes.

type unbuilt[T any] struct {
	at       func(*T) Pos // the zero Pos: not used
	severity Severity
	text     string
}

var unbuiltConfig = []unbuilt[Config]{
	{func(c *Config) Pos {
		return first(c.Notifiers.Webhooks, func(w Webhook) Pos { return w.Pos })
	}, Warning, "notifiers.webhooks: not built yet, nothing is sent to them"},
	{func(c *Config) Pos {
		if c.Web.Auth == nil {
			return Pos{}
		}
		return c.Web.Auth.Pos
	}, Warning, "web.auth: not built yet, the web pages know nobody and are read-only"},
	{func(c *Config) Pos { return c.Notifiers.MaxPagesPerMinute.Pos },
		Warning, "notifiers.max_pages_per_minute: not built yet, every incident is a page of its own"},
}

var unbuiltCatalog = []unbuilt[Catalog]{
	{func(c *Catalog) Pos {
		if p := first(c.Teams, func(t Team) Pos { return first(t.Webhooks, given) }); p.Line != 0 {
			return p
		}
		return first(c.People, func(p Person) Pos {
			return first(p.Contact, func(s At[string]) Pos {
				if isWebhookContact(s.V) {
					return s.Pos
				}
				return Pos{}
			})
		})
	}, Warning, "webhooks: not built yet, nothing is sent to them; people are paged over their other channels"},
	{func(c *Catalog) Pos {
		return first(c.Schedules, func(s Schedule) Pos { return given(s.ICalFile) })
	}, Warning, "schedules.ical_file: not built yet, nobody is on call by it; the team's lead and then the whole team are asked"},
}

// first is the place of the first of the list that has one.
func first[T any](list []T, at func(T) Pos) Pos {
	for _, v := range list {
		if p := at(v); p.Line != 0 {
			return p
		}
	}
	return Pos{}
}

// given is the place of a value that is not empty.
func given(s At[string]) Pos {
	if s.V == "" {
		return Pos{}
	}
	return s.Pos
}
