package model

import (
	"fmt"
	"math"

	"github.com/parelm/pare/model/codec"
)

// Op is the kind of a node. The set is closed: an executor that knows these runs every family. Values are matrices
// [tokens, width]; every operation works on each token by itself but for attention and the recurrent ones, which look
// back along the sequence.
type Op uint8

// The operations. W0, W1... are the node's weights in order; those marked optional may be nil.
const (
	OpEmbed     Op = iota // token ids -> rows of W0 [vocab, width]
	OpPosition            // rows of W0 [positions, width] at position + Node.Offset
	OpLinear              // x·W0ᵀ + W1: W0 [out, in], W1 [out] optional
	OpNorm                // normalisation by Node.Norm; W0 scale, W1 shift, both optional
	OpRope                // rotary position embedding by Node.Rope on heads of Node.Out.Block values
	OpAttention           // In q, k, v: causal attention by Node.Attn; W0 sinks [heads] optional: scores of a key whose value is 0
	OpAct                 // elementwise Node.Act
	OpAdd                 // In[0] + In[1]
	OpMul                 // In[0] * In[1]; an operand of width 1 is spread over the other's width
	OpScale               // Node.C * x
	OpSoftcap             // C * tanh(x / C)
	OpClamp               // min(max(x, -C), C)
	OpRoute               // router logits [tokens, experts] -> weights of the chosen experts, 0 for the rest; Node.Route
	OpExperts             // In x, route: sum over experts of route * down(act(gate x) * up x) by Node.Limit; W0 gate, W1 up, W2 down [experts, out, in], W3, W4, W5 their biases [experts, out] optional
	OpConv                // causal depthwise convolution: W0 [width, taps], W1 [width] optional
	OpScan                // Mamba selective scan: In x, dt, B, C; W0 A_log [width, state], W1 D [width]
	OpDelta               // gated delta rule by Node.Delta: In q, k, v, beta, alpha; W0 A_log, W1 dt_bias, both [value heads]
	OpShift               // RWKV token shift: x*W0 + previous x*(1-W0); W0 [width]
	OpWKV                 // RWKV v4 weighted key-value: In k, v; W0 decay, W1 first, both [width]
	opCount
)

var opNames = [opCount]string{"embed", "position", "linear", "norm", "rope", "attention", "act", "add", "mul", "scale",
	"softcap", "clamp", "route", "experts", "conv", "scan", "delta", "shift", "wkv"}

// String returns the operation's name.
func (o Op) String() string {
	if o < opCount {
		return opNames[o]
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// Activation is an elementwise function.
type Activation string

// The activations. Names are those of config.json where one exists.
const (
	SiLU        Activation = "silu"         // x * sigmoid(x)
	GELU        Activation = "gelu"         // x * Φ(x), by the error function
	GELUTanh    Activation = "gelu_tanh"    // the tanh approximation: gelu_new, gelu_pytorch_tanh
	QuickGELU   Activation = "quick_gelu"   // x * sigmoid(1.702 x)
	ReLU        Activation = "relu"         // max(x, 0)
	ReLUSquared Activation = "relu_squared" // max(x, 0)²
	Sigmoid     Activation = "sigmoid"      // 1 / (1 + exp(-x))
	Softplus    Activation = "softplus"     // log(1 + exp(x))
	Tanh        Activation = "tanh"
)

// Norm says how OpNorm normalises each of Groups equal parts of a row.
type Norm struct {
	Kind    string  // "rms": x / sqrt(mean x² + Eps); "layer": (x - mean x) / sqrt(var x + Eps)
	Eps     float64 // added to the mean square
	PlusOne bool    // the scale is 1 + W0 (Gemma)
	Groups  int     // parts of the row normalised by themselves: 1, or the heads
}

// Attention says how OpAttention works. Query head h reads key/value head h / (Heads/KVHeads).
type Attention struct {
	Heads, KVHeads int
	HeadDim        int     // values of a query or key head; value heads may differ
	ValueDim       int     // values of a value head
	Scale          float64 // multiplies q·k
	Window         int     // keys seen, counting the query's own; 0 means all before it
	Softcap        float64 // scores become Softcap * tanh(score / Softcap); 0 means none
	Alibi          *Alibi  // bias by key position; nil means none
}

// Alibi adds Slopes[head] * key position to the scaled score (Press et al. 2022; a constant per query cancels in the
// softmax, so position and distance are the same up to rounding).
type Alibi struct {
	Slopes []float64
	Scale  float64 // multiplies the bias: 1, or 1/sqrt(head) where the bias is added before scaling (Falcon)
	BF16   bool    // round slopes and each product to bfloat16, as Falcon was trained
}

// Route says how OpRoute chooses experts: softmax over all, the TopK largest, divided by their sum if Normalize.
type Route struct {
	TopK      int
	Normalize bool
}

// Bias returns what is added to the scaled score of a head's key at a position; 0 for a nil Alibi.
func (a *Alibi) Bias(head, position int) float64 {
	if a == nil {
		return 0
	}
	slope, scale := a.Slopes[head], a.Scale
	if scale == 0 {
		scale = 1
	}
	if !a.BF16 {
		return slope * float64(position) * scale
	}
	return float64(roundBF16(roundBF16(float32(slope))*float32(position))) * scale
}

func roundBF16(f float32) float32 {
	return math.Float32frombits(uint32(codec.F32ToBF16(f)) << 16)
}
