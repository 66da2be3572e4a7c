package tokenizer

import "slices"

// Long words are mostly runs: spaces, newlines, dashes. Run-length coding keeps them short however long they are: when the pair of
// two equal symbols has the lowest rank, all pairs of its run are merged at once.

// symbolRun is n times the same symbol.
type symbolRun struct {
	id int32
	n  int
}

const maxRuns = 48

// runs codes ids, or returns nil if there are too many runs for quadratic merging.
func (l *longMerge) runs(ids []int32) []symbolRun {
	out := l.coded[:0]
	for _, id := range ids {
		if n := len(out); n > 0 && out[n-1].id == id {
			out[n-1].n++
			continue
		}
		if len(out) == maxRuns/2 {
			return nil
		}
		out = append(out, symbolRun{id, 1})
	}
	l.coded = out
	return out
}

// mergeRuns merges coded symbols into ids, which is long enough, and returns how many there are. If the runs become
// too many, done is false and ids holds what has been merged so far.
func (m *bpe) mergeRuns(runs []symbolRun, ids []int32) (n int, done bool) {
	for done = true; done; done = len(runs) <= maxRuns {
		at, inside, best := -1, false, uint64(noPair)
		for i, r := range runs {
			if r.n > 1 {
				if v := m.pairs.get(r.id, r.id); v>>32 < best>>32 {
					at, inside, best = i, true, v
				}
			}
			if i+1 < len(runs) {
				if v := m.pairs.get(r.id, runs[i+1].id); v>>32 < best>>32 {
					at, inside, best = i, false, v
				}
			}
		}
		if at < 0 {
			break
		}
		r, c := runs[at], int32(uint32(best))
		if inside {
			k := 1 // how many pairs
			if m.upward[best>>32] {
				k = r.n / 2
			}
			runs = replaceRuns(runs, at, at+1, symbolRun{c, k}, symbolRun{r.id, r.n - 2*k})
		} else {
			next := runs[at+1]
			runs = replaceRuns(runs, at, at+2, symbolRun{r.id, r.n - 1}, symbolRun{c, 1}, symbolRun{next.id, next.n - 1})
		}
	}
	for _, r := range runs {
		for range r.n {
			ids[n] = r.id
			n++
		}
	}
	return n, done
}

// replaceRuns puts parts in place of runs[from:to], leaving out empty ones and joining equal neighbours.
func replaceRuns(runs []symbolRun, from, to int, parts ...symbolRun) []symbolRun {
	parts = slices.DeleteFunc(parts, func(r symbolRun) bool { return r.n == 0 })
	runs = slices.Replace(runs, from, to, parts...)
	for i := min(from+len(parts), len(runs)-1); i > 0 && i >= from; i-- {
		if runs[i].id == runs[i-1].id {
			runs[i-1].n += runs[i].n
			runs = slices.Delete(runs, i, i+1)
		}
	}
	return runs
}
