package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/whois"
)

// The pages about the catalog: what callchain knows without any alert. They say
// what whois, oncall and route test say, in the same words.

// knowledge is the data of such a page.
type knowledge struct {
	Title, Note string
	Form        *string    // set: the labels that were asked about
	Head        []string   // of a table
	Rows        [][]string // its first cell links, when Link is there
	Link        string     // what its first cell, as a path, is put behind
	Words       int        // how many cells after the first are words that do not wrap
	Text        string
	frame
}

func (s *Server) servicesPage(w http.ResponseWriter, _ *http.Request) {
	data := knowledge{
		Title: "Services", Link: "/services/", Words: 3, frame: s.frame(),
		Head: []string{"Service", "Tier", "State", "Ownership", "Missing", "Incident response", "Development"},
	}
	for _, svc := range s.current().Catalog.Services() {
		owner := func(roles ...config.Role) string {
			for _, r := range roles {
				if t := svc.Owner(r); t != nil {
					return t.Name
				}
			}
			return ""
		}
		development := owner(config.Development, config.ContingencyDevelopment)
		if p := svc.VacancyHeld; p != nil {
			development = "vacant (" + p.Handle + ")"
		}
		var missing []string
		for _, r := range svc.MissingRoles {
			missing = append(missing, spoken(string(r)))
		}
		data.Rows = append(data.Rows, []string{
			svc.Name, fmt.Sprint(svc.Tier), spoken(string(svc.State)), string(svc.Assessment), strings.Join(missing, ", "),
			owner(config.IncidentResponse), development,
		})
	}
	if len(data.Rows) == 0 {
		data.Note = "The catalog has no services."
	}
	render(w, http.StatusOK, "knowledge", data)
}

func (s *Server) servicePage(w http.ResponseWriter, r *http.Request) {
	v := s.current()
	svc := v.Catalog.Service(r.PathValue("name"))
	if svc == nil {
		text(w, http.StatusNotFound, "The catalog has no service of this name or alias.")
		return
	}
	found := whois.Ask(v.Router, svc.Name, s.engine.Now(), config.Page)
	found.Teams, found.People = []whois.Team{}, []whois.Person{}
	render(w, http.StatusOK, "knowledge", knowledge{Title: svc.Name, Text: found.Text(), frame: s.frame()})
}

func (s *Server) onCallPage(w http.ResponseWriter, _ *http.Request) {
	v := s.current()
	rota := whois.OnCall(v.Catalog, v.Catalog.Teams(), s.engine.Now())
	data := knowledge{
		Title: "On call", Note: "At " + minuteOf(&rota.At) + ".", frame: s.frame(),
		Head: []string{"Team", "On call", "Until", "Next", "From", "Schedule"},
	}
	for _, c := range rota.OnCall {
		who := strings.Join(c.People, ", ")
		if who == "" {
			who = "nobody"
		}
		if len(c.StandIn) > 0 {
			who += "; asked instead: " + strings.Join(c.StandIn, ", ")
		}
		schedule := c.Schedule
		if schedule == "" {
			schedule = "none: the whole team"
		}
		data.Rows = append(data.Rows, []string{c.Team, who, minuteOf(c.Until), strings.Join(c.Next, ", "), minuteOf(c.NextFrom), schedule})
	}
	render(w, http.StatusOK, "knowledge", data)
}

func minuteOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// routePage asks what an alert with some labels would do; nothing is sent.
func (s *Server) routePage(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query().Get("labels")
	data := knowledge{
		Title: "What would an alert do?", Form: &asked, frame: s.frame(),
		Note: "One label a line, like service=NAME or severity=page. Nothing is sent.",
	}
	labels := map[string]string{}
	for line := range strings.Lines(asked) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			data.Text = fmt.Sprintf("%q is no label; write name=value.", line)
			render(w, http.StatusBadRequest, "knowledge", data)
			return
		}
		labels[name] = value
	}
	if len(labels) > 0 {
		data.Text = explain(s.current().Router, routing.Alert{Labels: labels}, s.engine.Now()).Text()
	}
	render(w, http.StatusOK, "knowledge", data)
}

// At is the address that the first cell of a row leads to.
func (k knowledge) At(row []string) string { return k.Link + url.PathEscape(row[0]) }
