package quantize

import (
	"context"
	"fmt"
	"math"
	"sort"
	"strings"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// A budget chooses the format of each matrix. What a format costs is estimated in two steps: the relative output error that
// rounding causes in the matrix itself, on the calibration inputs, and what such an error does to the model's output,
// from the divergence measured with only that matrix (or its kind, in a model of many) rounded coarsely. Small errors add
// up, so the least sum of (divergence per error) x error within the bytes is a knapsack. Plans found with several
// estimates, and the usual mix where it fits, are then measured whole; the closest wins.

// Budget is what was chosen and why.
type Budget struct {
	Bytes      int64       `json:"bytes"`      // of all weights
	Divergence float64     `json:"divergence"` // measured, of the plan rounded to nearest with importances
	Plan       string      `json:"plan"`       // which estimate found it
	Tried      []Trial     `json:"tried"`
	Rows       []BudgetRow `json:"matrices"`
}

// Trial is a plan that was measured.
type Trial struct {
	Plan       string  `json:"plan"`
	Bytes      int64   `json:"bytes"`
	Divergence float64 `json:"divergence"`
}

// BudgetRow says why a matrix got its format.
type BudgetRow struct {
	Name        string  `json:"name"`
	Format      string  `json:"format"`
	Bits        float64 `json:"bits"`        // per weight
	Error       float64 `json:"error"`       // relative output error of rounding to nearest
	Sensitivity float64 `json:"sensitivity"` // divergence per error
}

// ladders are the formats a budget chooses from, by container.
var ladders = map[bool][]string{
	false: {"q2_k", "q3_k", "iq4_xs", "iq4_nl", "q4_0", "q4_k", "q5_0", "q5_k", "q6_k", "q8_0", "f16"},
	true:  {"int4g128", "int4g64", "int4g32", "int8"},
}

// budgetItem is one matrix, or several that share a stored tensor.
type budgetItem struct {
	weights     []*model.Weight
	codecs      []codec.Codec
	options     []option // cost is the error
	sensitivity float64
}

// search is a budget search under way.
type search struct {
	m      *model.Model
	s      Settings
	plan   []Choice // of the usual mix
	items  []*budgetItem
	points map[*model.Weight]*calib.Point
	judge  *judge
	cache  map[*model.Weight]map[codec.Codec]*tensor.Tensor
	fixed  int64 // bytes of what is not chosen
}

// judgeTokens is how much text divergence is measured on.
const judgeTokens = 2048

// searchPlan finds the formats that a budget asks for.
func searchPlan(ctx context.Context, m *model.Model, s Settings, o Options) ([]Choice, *Budget, error) {
	if len(o.Samples) == 0 {
		return nil, nil, fmt.Errorf("a budget needs calibration text to measure with")
	}
	plan, err := s.mixed(m)
	if err != nil {
		return nil, nil, err
	}
	x := &search{m: m, s: s, plan: plan, points: map[*model.Weight]*calib.Point{}, cache: map[*model.Weight]map[codec.Codec]*tensor.Tensor{}}
	if err := x.collect(ctx, o); err != nil {
		return nil, nil, err
	}
	if x.judge, err = newJudge(ctx, m, o.Samples, judgeTokens); err != nil {
		return nil, nil, err
	}
	if err := x.sensitivities(ctx); err != nil {
		return nil, nil, err
	}
	if s.MaxKLD > 0 {
		return x.within(ctx)
	}
	bound, err := s.bound(ctx, m, plan)
	if err != nil {
		return nil, nil, err
	}
	return x.best(ctx, bound)
}

// collect makes the items and measures the error of every option.
func (x *search) collect(ctx context.Context, o Options) error {
	err := calib.Walk(ctx, x.m, o.Samples, calib.Needs{Lean: true, Outside: true}, func(_ context.Context, l *calib.Layer) (*model.Model, error) {
		for _, g := range x.m.Graph.Groups() {
			for _, n := range g.Linears {
				for i, w := range n.Weights {
					if p := l.Points[g.Input]; p != nil && w != nil && (n.Op != model.OpExperts || i < 2) {
						x.points[w] = p
					}
				}
			}
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	packed := Packed(x.s.Format)
	together := map[*model.Weight][]*model.Weight{}
	for _, group := range x.m.Fused(!packed) {
		for _, w := range group {
			together[w] = group
		}
	}
	done := map[*model.Weight]bool{}
	x.fixed = x.m.Bytes()
	for _, c := range x.plan {
		if c.Codec == nil || done[c.Weight] {
			continue
		}
		if t := x.m.Tensor(c.Weight); c.Codec == plain(t) { // it gets back the format it had before it was turned
			rb, err := codec.RowBytes(c.Codec, t.Cols())
			if err != nil {
				return err
			}
			x.fixed += int64(rb)*int64(t.Rows()) - t.Bytes()
			continue
		}
		it := &budgetItem{weights: []*model.Weight{c.Weight}}
		if g := together[c.Weight]; g != nil && c.Weight.Role != model.RoleVector {
			it.weights = g
		}
		for _, w := range it.weights {
			done[w] = true
			x.fixed -= x.m.Tensor(w).Bytes()
		}
		x.items = append(x.items, it)
	}
	task := progress.Start(ctx, "measure", "matrices", int64(len(x.items)))
	defer task.Done()
	for _, it := range x.items {
		if err := x.measure(ctx, it, packed); err != nil {
			return err
		}
		task.Add(1)
	}
	return nil
}

// measure finds the options of an item and their errors, on some rows.
func (x *search) measure(ctx context.Context, it *budgetItem, packed bool) error {
	for _, name := range ladders[packed] {
		c, err := codec.Lookup(name)
		if err != nil {
			return err
		}
		cols := it.weights[0].Shape()[len(it.weights[0].Dims)-1]
		if _, err := codec.RowBytes(c, cols); err != nil {
			continue
		}
		var o option
		for _, w := range it.weights {
			t := x.m.Tensor(w)
			rb, err := codec.RowBytes(c, t.Cols())
			if err != nil {
				return err
			}
			o.bytes += int64(rb) * int64(t.Rows())
			p, err := x.problem(w, c, true)
			if err != nil {
				return err
			}
			r, err := x.rtn().Solve(ctx, p)
			if err != nil {
				return err
			}
			o.cost += r.Error / float64(len(it.weights))
		}
		it.codecs, it.options = append(it.codecs, c), append(it.options, o)
	}
	if len(it.options) == 0 {
		return fmt.Errorf("%s: no format of the budget fits its rows", it.weights[0].Name)
	}
	return nil
}

func (x *search) rtn() *RTN { return &RTN{Importance: true, Clip: Packed(x.s.Format)} }

// probeRows is on how many rows of a matrix an option's error is measured.
const probeRows = 64

// problem returns a weight as a problem: some of its rows, or all.
func (x *search) problem(w *model.Weight, c codec.Codec, few bool) (*Problem, error) {
	rows := x.m.Tensor(w).Rows()
	if few {
		rows = probeRows
	}
	p, err := some(x.m, Choice{Weight: w, Codec: c}, rows)
	if err == nil {
		p.Inputs = x.points[w]
	}
	return p, err
}

// rounded returns a weight in a format, rounded to nearest.
func (x *search) rounded(ctx context.Context, w *model.Weight, c codec.Codec) (*tensor.Tensor, error) {
	if t := x.cache[w][c]; t != nil {
		return t, nil
	}
	p, err := x.problem(w, c, false)
	if err != nil {
		return nil, err
	}
	data, err := x.rtn().encoded(ctx, p)
	if err != nil {
		return nil, err
	}
	t := tensor.FromBytes(w.Name, c, w.Shape(), data)
	if x.cache[w] == nil {
		x.cache[w] = map[codec.Codec]*tensor.Tensor{}
	}
	x.cache[w][c] = t
	return t, nil
}

// divergence measures the model with items in the given options; -1 leaves one as it is.
func (x *search) divergence(ctx context.Context, chosen []int) (float64, error) {
	changed := map[*model.Weight]*tensor.Tensor{}
	for i, k := range chosen {
		if k < 0 {
			continue
		}
		for _, w := range x.items[i].weights {
			var err error
			if changed[w], err = x.rounded(ctx, w, x.items[i].codecs[k]); err != nil {
				return 0, err
			}
		}
	}
	return x.judge.divergence(ctx, x.m.With(changed))
}

// probedItems is how many items are probed one by one; more are probed by kind and third of the depth.
const probedItems = 64

// sensitivities measures what errors of each item do to the output.
func (x *search) sensitivities(ctx context.Context) error {
	groups := map[string][]int{}
	var names []string
	for i, it := range x.items {
		key := it.weights[0].Name
		if rest, ok := strings.CutPrefix(key, "layers."); ok && len(x.items) > probedItems {
			num, kind, _ := strings.Cut(rest, ".")
			layer := 0
			fmt.Sscan(num, &layer)
			key = fmt.Sprintf("%s %d", kind, 3*layer/x.m.Graph.Layers)
		}
		if groups[key] == nil {
			names = append(names, key)
		}
		groups[key] = append(groups[key], i)
	}
	task := progress.Start(ctx, "probe", "groups", int64(len(names)))
	defer task.Done()
	for _, name := range names {
		chosen := make([]int, len(x.items))
		for i := range chosen {
			chosen[i] = -1
		}
		var e float64
		for _, i := range groups[name] {
			k := x.items[i].probe()
			chosen[i] = k
			e += x.items[i].options[k].cost
		}
		kl, err := x.divergence(ctx, chosen)
		if err != nil {
			return err
		}
		for _, i := range groups[name] {
			x.items[i].sensitivity = max(kl, 0) / math.Max(e, 1e-12)
		}
		task.Add(1)
	}
	return nil
}

// probe returns the option that probes an item: the one nearest to 3.5 bits.
func (it *budgetItem) probe() int {
	n := 0
	for _, w := range it.weights {
		n += w.Len()
	}
	best, least := 0, math.Inf(1)
	for k, o := range it.options {
		if d := math.Abs(8*float64(o.bytes)/float64(n) - 3.5); d < least {
			best, least = k, d
		}
	}
	return best
}

// best returns the closest of several plans within the bytes of all weights.
func (x *search) best(ctx context.Context, bound int64) ([]Choice, *Budget, error) {
	estimates := []struct {
		name string
		cost func(it *budgetItem, k int) float64
	}{
		{"measured sensitivities", func(it *budgetItem, k int) float64 { return it.sensitivity * it.options[k].cost }},
		{"sensitivities, roots", func(it *budgetItem, k int) float64 { return math.Sqrt(it.sensitivity) * it.options[k].cost }},
		{"layer errors", func(it *budgetItem, k int) float64 { return it.options[k].cost }},
	}
	b := &Budget{Divergence: math.Inf(1)}
	var won []int
	try := func(name string, chosen []int) error {
		kl, err := x.divergence(ctx, chosen)
		if err != nil {
			return err
		}
		t := Trial{Plan: name, Bytes: x.bytes(chosen), Divergence: kl}
		b.Tried = append(b.Tried, t)
		if kl < b.Divergence {
			b.Divergence, b.Bytes, b.Plan, won = kl, t.Bytes, name, chosen
		}
		return nil
	}
	for _, e := range estimates {
		items := make([][]option, len(x.items))
		for i, it := range x.items {
			for k, o := range it.options {
				items[i] = append(items[i], option{o.bytes, e.cost(it, k)})
			}
		}
		chosen := knapsack(items, bound-x.fixed)
		if chosen == nil {
			return nil, nil, fmt.Errorf("%d bytes are not enough: the smallest formats need %d", bound, x.bytes(x.smallest()))
		}
		if err := try(e.name, chosen); err != nil {
			return nil, nil, err
		}
	}
	if usual := x.usual(); usual != nil && x.bytes(usual) <= bound && x.bytes(usual) >= bound-bound/100 {
		if err := try("the usual mix", usual); err != nil {
			return nil, nil, err
		}
	}
	return x.choices(won), x.explain(b, won), nil
}

// usual returns the mix as options; nil where it uses other formats.
func (x *search) usual() []int {
	by := map[*model.Weight]codec.Codec{}
	for _, c := range x.plan {
		by[c.Weight] = c.Codec
	}
	chosen := make([]int, len(x.items))
	for i, it := range x.items {
		chosen[i] = -1
		for k, c := range it.codecs {
			if c == by[it.weights[0]] {
				chosen[i] = k
			}
		}
		if chosen[i] < 0 {
			return nil
		}
	}
	return chosen
}

func (x *search) smallest() []int {
	chosen := make([]int, len(x.items))
	for i, it := range x.items {
		for k, o := range it.options {
			if o.bytes < it.options[chosen[i]].bytes {
				chosen[i] = k
			}
		}
	}
	return chosen
}

// bytes returns the size of all weights under a plan.
func (x *search) bytes(chosen []int) int64 {
	n := x.fixed
	for i, k := range chosen {
		n += x.items[i].options[k].bytes
	}
	return n
}

// within finds the smallest plan whose measured divergence stays within the bound.
func (x *search) within(ctx context.Context) ([]Choice, *Budget, error) {
	largest := x.fixed
	for _, it := range x.items {
		n := int64(0)
		for _, o := range it.options {
			n = max(n, o.bytes)
		}
		largest += n
	}
	lo, hi := x.bytes(x.smallest()), largest
	var choices []Choice
	var budget *Budget
	for range 10 {
		mid := lo + (hi-lo)/2
		c, b, err := x.best(ctx, mid)
		if err != nil {
			return nil, nil, err
		}
		if b.Divergence <= x.s.MaxKLD {
			hi, choices, budget = mid, c, b
		} else {
			lo = mid
		}
	}
	if choices == nil {
		return nil, nil, fmt.Errorf("no plan up to %d bytes stays within a divergence of %g", largest, x.s.MaxKLD)
	}
	return choices, budget, nil
}

// choices returns a plan as choices.
func (x *search) choices(chosen []int) []Choice {
	by := map[*model.Weight]codec.Codec{}
	for i, k := range chosen {
		for _, w := range x.items[i].weights {
			by[w] = x.items[i].codecs[k]
		}
	}
	out := append([]Choice(nil), x.plan...)
	for i := range out {
		if c := by[out[i].Weight]; c != nil {
			out[i].Codec, out[i].Wanted = c, ""
		}
	}
	return out
}

// explain adds a row for each matrix, the most sensitive first.
func (x *search) explain(b *Budget, chosen []int) *Budget {
	for i, it := range x.items {
		o := it.options[chosen[i]]
		n := 0
		for _, w := range it.weights {
			n += w.Len()
		}
		for _, w := range it.weights {
			b.Rows = append(b.Rows, BudgetRow{w.Name, it.codecs[chosen[i]].Name(), 8 * float64(o.bytes) / float64(n), o.cost, it.sensitivity})
		}
	}
	sort.SliceStable(b.Rows, func(i, j int) bool { return b.Rows[i].Sensitivity > b.Rows[j].Sensitivity })
	return b
}
