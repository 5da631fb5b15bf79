package catalog

import "callchain/config"

// The codes of what names and owners come to; docs/lint.md tells each.
const (
	CodeName       config.Code = "CC0201" // a name or alias given twice
	CodePerson     config.Code = "CC0202" // a person the catalog lacks
	CodeSchedule   config.Code = "CC0203" // a schedule the catalog lacks
	CodeVolunteers config.Code = "CC0204" // volunteers the catalog lacks
	CodeShared     config.Code = "CC0205" // two people behind one address

	CodeVolunteerOwns config.Code = "CC0301"
	CodePersonOwns    config.Code = "CC0302"
	CodeOwner         config.Code = "CC0303" // an owner the catalog lacks
	CodeEmptyTeam     config.Code = "CC0304" // an owner without members
	CodeNotApplicable config.Code = "CC0305" // a role that is n/a in the state
	CodeVacancy       config.Code = "CC0306" // a vacancy where there can be none
	CodeVacancyUnheld config.Code = "CC0307" // a vacancy without director or reason
	CodeUnfilled      config.Code = "CC0308" // a required role left out
)
