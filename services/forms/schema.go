package forms

// The layout of the data files. Every text is there in both languages; load
// refuses a file with an unknown key, a missing text or a broken expression.

// bilingual is one text in both languages.
type bilingual struct {
	Zh string `yaml:"zh"`
	En string `yaml:"en"`
}

// formFile is one form: data shared by its editions.
type formFile struct {
	Form    string    `yaml:"form"`
	Country string    `yaml:"country"` // first part of the authorities it goes to
	Title   bilingual `yaml:"title"`
	// Periods the form is for: "month", "quarter" (calendar quarters), or "days" (any, up to 366 days).
	Periods  []string      `yaml:"periods"`
	Editions []editionFile `yaml:"editions"`
	// Include names files of rules shared by several forms.
	Include  []string      `yaml:"include"`
	Columns  []named       `yaml:"columns"`
	Context  []factFile    `yaml:"context"`
	Sections []sectionFile `yaml:"sections"`
}

// editionFile says which periods an edition is for: those that end within From..To.
type editionFile struct {
	Edition string `yaml:"edition"`
	From    string `yaml:"from"`
	To      string `yaml:"to"` // empty: until further notice
	Legal   string `yaml:"legal"`
}

type named struct {
	ID        string `yaml:"id"`
	bilingual `yaml:",inline"`
}

// factFile is a fact outside the form. Derive computes it when the return's
// context does not give it.
type factFile struct {
	Name      string `yaml:"name"`
	Type      string `yaml:"type"` // number, rate (0 to 1), flag (0 or 1) or text
	Derive    string `yaml:"derive"`
	bilingual `yaml:",inline"`
}

// sectionFile is the main sheet or a schedule. Its cells are
// prefix + row + "." + line + "@" + column, each part only if there is one.
type sectionFile struct {
	Name   string    `yaml:"name"`
	Title  bilingual `yaml:"title"`
	Prefix string    `yaml:"prefix"`
	// Active: whether the return has this section. Empty: always.
	Active string     `yaml:"active"`
	Rows   []named    `yaml:"rows"`
	Lines  []lineFile `yaml:"lines"`
	Fills  []fillFile `yaml:"fills"`
	Rules  []ruleFile `yaml:"rules"`
}

type lineFile struct {
	No        string   `yaml:"no"`
	Type      string   `yaml:"type"` // money (default), rate, whole, text
	Cols      []string `yaml:"cols"`
	Blank     []string `yaml:"blank"` // columns printed as a dash: known, but to be left empty
	Rows      []string `yaml:"rows"`  // default: all rows of the section
	bilingual `yaml:",inline"`
}

// fillFile computes a cell that the return leaves out.
type fillFile struct {
	Cell   string   `yaml:"cell"`
	As     string   `yaml:"as"`
	When   string   `yaml:"when"`
	Unless string   `yaml:"unless"` // another cell: when it was given, this one stays empty
	Cols   []string `yaml:"cols"`
	Rows   []string `yaml:"rows"`
}

// ruleFile is one rule. It is instantiated once per column and row: unqualified
// cell codes take the column, and $r is replaced by the row. One id may have
// several entries, the texts then come from the first.
type ruleFile struct {
	ID        string   `yaml:"id"`
	Severity  string   `yaml:"severity"` // error (default) or warning
	Level     int      `yaml:"level"`    // a level is checked only when lower ones found no error
	Must      string   `yaml:"must"`
	When      string   `yaml:"when"`
	Tolerance string   `yaml:"tolerance"`
	Fills     bool     `yaml:"fills"` // must is cell == formula, and the formula fills the cell
	Cols      []string `yaml:"cols"`
	Rows      []string `yaml:"rows"`
	Source    string   `yaml:"source"`
	bilingual `yaml:",inline"`
	Fix       bilingual `yaml:"fix"`
}

// sharedFile holds rules that several forms include.
type sharedFile struct {
	Shared string     `yaml:"shared"`
	Rules  []ruleFile `yaml:"rules"`
}

// authoritiesFile lists where returns can be filed.
type authoritiesFile struct {
	Authorities []named `yaml:"authorities"`
}
