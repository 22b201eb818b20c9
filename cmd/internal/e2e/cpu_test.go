package e2e

// pids are processes counted together.
type pids []int

func (p *process) pid() int { return p.cmd.Process.Pid }

// A meter remembers the processor time that parts had used, in seconds.
type meter map[string]float64

// spent reads the processor time of some parts, user and system.
func spent(parts map[string]pids) meter {
	m := meter{}
	for part, all := range parts {
		total, known := 0.0, len(all) > 0
		for _, pid := range all {
			seconds, ok := cpuSeconds(pid)
			total, known = total+seconds, known && ok
		}
		if known {
			m[part] = total
		}
	}
	return m
}

// since is what the parts have used meanwhile; what cannot be read is left out.
func (m meter) since(parts map[string]pids) map[string]float64 {
	out := map[string]float64{}
	for part, now := range spent(parts) {
		if before, ok := m[part]; ok {
			out[part] = now - before
		}
	}
	return out
}
