package escalation

import (
	"slices"

	"callchain/config"
	"callchain/routing/catalog"
)

// boards adds the shared messages that the incident has: of the team that
// answers, of the also affected services, and of volunteers, who are told and
// never waited for.
func (s *stepper) boards() {
	cat := s.env.Router.Catalog()
	if !s.env.Channels["slack"] {
		return
	}
	board := func(team *catalog.Team, address string, readOnly bool) {
		if address == "" {
			return
		}
		id := deliveryID(s.ID, "board", address)
		if s.delivery(id) != nil {
			return
		}
		name := ""
		if team != nil {
			name = team.Name
		}
		s.add(Delivery{ID: id, Kind: BoardDelivery, Channel: "slack", To: name, Address: address, ReadOnly: readOnly})
		if !readOnly {
			s.add(Delivery{ID: deliveryID(s.ID, "thread", address), Kind: ThreadDelivery, Channel: "slack", To: name, Address: address, Parent: id})
		}
	}
	team := s.boardTeam(s.Service)
	address := s.env.Channel
	if team != nil && team.SlackChannel != "" {
		address = team.SlackChannel
	}
	board(team, address, false)
	for _, name := range s.AlsoAffected {
		if t := s.boardTeam(name); t != nil {
			board(t, t.SlackChannel, true)
		}
	}
	if svc := cat.Service(s.Service); svc != nil && s.Urgency.Pages() && !s.Confidential {
		for _, t := range svc.Volunteers {
			board(t, t.SlackChannel, true)
		}
	}
}

// boardTeam is the team whose channel is the board: of incident response, else
// of development, else of contingency development; without a service the team
// itself, else the fallback team.
func (s *stepper) boardTeam(service string) *catalog.Team {
	cat := s.env.Router.Catalog()
	svc := cat.Service(service)
	if svc == nil || svc.State == config.Decommissioned {
		if t := cat.Team(s.Team); t != nil {
			return t
		}
		return s.env.Router.Fallback()
	}
	var first *catalog.Team
	for _, role := range []config.Role{config.IncidentResponse, config.Development, config.ContingencyDevelopment} {
		if t := svc.Owners[role]; t != nil {
			if t.SlackChannel != "" {
				return t
			}
			if first == nil {
				first = t
			}
		}
	}
	return first
}

// mailTeam tells a team of an alert that wakes nobody, by mail as well.
func (s *stepper) mailTeam() {
	team := s.boardTeam(s.Service)
	if team == nil || !s.env.Channels["email"] {
		return
	}
	address := team.Email
	if address == "" && !slices.ContainsFunc(s.Deliveries, func(d Delivery) bool { return d.Kind == BoardDelivery }) {
		// No board and no address of the team: the fallback team's is better than silence.
		team = s.env.Router.Fallback()
		address = team.Email
	}
	if address != "" {
		s.add(Delivery{ID: deliveryID(s.ID, "mail", s.Opens, address), Kind: BoardDelivery, Channel: "email", To: team.Name, Address: address})
	}
}
