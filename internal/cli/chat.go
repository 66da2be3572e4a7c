package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/parelm/pare/model/chat"
	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/grammar"
)

func init() {
	register(&cli.Command{
		Name: "chat", Usage: "talk with a model in the terminal",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
Answers appear as they are written. Ctrl-C stops an answer, not the chat; Ctrl-D leaves. A line that ends with a backslash goes
on in the next one; pasted text may have several lines. Where standard input is no terminal, each line is a turn.

` + chatCommands + `
examples
  pare chat q4.gguf
  pare chat ./model --system "Answer in one sentence." --temp 0.7
  pare chat ./model --draft q4.gguf
  echo "What is a goroutine?" | pare chat q4.gguf`,
		Flags: slices.Concat(samplingFlags(), constraintFlags(), draftFlags(), memoryFlags(), []cli.Flag{
			&cli.StringFlag{Name: "system", Usage: "tell the model `TEXT` before the first turn"},
			&cli.IntFlag{Name: "n", Aliases: []string{"max-tokens"}, Usage: "write at most `N` tokens in an answer", DefaultText: "what the context holds"},
			&cli.StringFlag{Name: "template", Usage: "talk with this chat template: `FILE`, chatml or plain", DefaultText: "the checkpoint's"},
		}),
		Action: action(chatWith),
	})
}

const chatCommands = `commands
  /system TEXT   tell the model how to answer, and begin anew; without TEXT nothing is told
  /reset         begin anew
  /again         answer the last turn once more, with another seed
  /help          this list
  /exit          leave
`

// talk is a conversation in the terminal.
type talk struct {
	e       *env
	m       *loaded
	tmpl    *chat.Template
	stops   []string
	eos     []int32
	how     runtime.Sampling
	g       *grammar.Grammar // what answers are held to; nil for nothing
	max     int
	system  string
	turns   []chat.Message
	session *runtime.Session
	drafts  *runtime.Speculation // nil for none
	in      *input
}

func chatWith(ctx context.Context, e *env, c *cli.Context) error {
	ref, err := one(c, "one MODEL")
	if err != nil {
		return err
	}
	how, err := sampling(c)
	if err != nil {
		return err
	}
	if e.json {
		return usage("%s has no --json: use generate or serve", c.Command.HelpName)
	}
	g, err := constraint(c)
	if err != nil {
		return err
	}
	m, err := loadForText(ctx, e, c, ref, false)
	if err != nil {
		return err
	}
	defer m.Close()
	t := &talk{e: e, m: m, how: how, g: g, max: c.Int("n"), system: c.String("system"), session: m.e.NewSession(), eos: chatEOS(m)}
	var note string
	if t.tmpl, t.stops, note, err = chatTemplate(m.tok, c.String("template")); err != nil {
		return err
	}
	t.stops = append(t.stops, c.StringSlice("stop")...)
	drafts, closeDraft, err := drafter(ctx, e, c, m)
	if err != nil {
		return err
	}
	defer closeDraft()
	t.drafts = drafts
	if note != "" {
		e.note(note)
	}
	t.in = newInput(os.Stdin)
	if t.in.tty {
		e.note("/help lists commands, Ctrl-C stops an answer, Ctrl-D leaves")
	}
	return t.run(ctx)
}

func (t *talk) run(ctx context.Context) error {
	for ctx.Err() == nil {
		line, err := t.in.line()
		switch {
		case errors.Is(err, errInterrupt):
			t.e.note("Ctrl-D or /exit leaves")
			continue
		case err == io.EOF:
			if t.in.tty {
				fmt.Fprintln(t.e.out)
			}
			return nil
		case err != nil:
			return err
		}
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if strings.HasPrefix(line, "/") {
			if done, err := t.command(ctx, line); done || err != nil {
				return err
			}
			continue
		}
		t.turns = append(t.turns, chat.Message{Role: "user", Content: line})
		if err := t.answer(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// command obeys a line that begins with a slash.
func (t *talk) command(ctx context.Context, line string) (done bool, err error) {
	name, rest, _ := strings.Cut(line, " ")
	switch name {
	case "/exit", "/quit", "/bye":
		return true, nil
	case "/help", "/?":
		t.e.note(strings.TrimRight(chatCommands, "\n"))
	case "/reset", "/clear":
		t.turns = nil
		t.e.note("a new conversation")
	case "/system":
		t.system, t.turns = strings.TrimSpace(rest), nil
		t.e.note("a new conversation, with other words before it")
	case "/again":
		n := len(t.turns)
		if n > 0 && t.turns[n-1].Role == "assistant" {
			n--
		}
		if n == 0 {
			t.e.note("there is nothing to answer yet")
			return false, nil
		}
		t.turns = t.turns[:n]
		t.how.Seed++
		return false, t.answer(ctx)
	default:
		t.e.note("there is no command " + name + "; /help lists them")
	}
	return false, nil
}

// prompt renders the conversation to text and tokens.
func (t *talk) prompt() (string, []int32, error) {
	c := &chat.Conversation{Generate: true, Now: time.Now(), BOS: t.m.tok.Piece(t.m.tok.BOS()), EOS: t.m.tok.Piece(t.m.tok.EOS())}
	if t.system != "" {
		c.Messages = append(c.Messages, chat.Message{Role: "system", Content: t.system})
	}
	c.Messages = append(c.Messages, t.turns...)
	p, err := t.tmpl.Render(c)
	if err != nil {
		return "", nil, err
	}
	ids, err := p.Encode(t.m.tok)
	return p.Text, ids, err
}

// answer writes the assistant's turn. What went wrong with this turn is told and the chat goes on.
func (t *talk) answer(ctx context.Context) error {
	prompt, ids, err := t.prompt()
	if err == nil && len(ids) >= t.m.e.Context() {
		err = fmt.Errorf("the conversation has %d tokens, the model's context is %d; nothing is cut off silently: /reset begins anew", len(ids), t.m.e.Context())
	}
	if err != nil {
		t.turns = t.turns[:len(t.turns)-1]
		t.e.note("pare: " + err.Error())
		return nil
	}
	// From here on Ctrl-C is the answer's alone.
	ctx, stop := answerContext(ctx)
	defer stop()
	known, err := t.rewind(ctx, ids)
	if err != nil {
		return err
	}
	n := t.m.e.Context()
	if t.max > 0 {
		n = t.max
	}
	marks := runtime.MarksOf(t.m.tok)
	text, parts := marks.NewText(t.m.tok, t.stops), marks.Begin(prompt)
	said := speech{out: t.e.out, before: "<think>\n", after: "\n</think>\n\n"}
	if t.in.tty {
		said.before, said.after = "\x1b[2m", "\x1b[0m\n\n" // dim
	}
	say := func(s string, done bool) { said.add(parts.Push(s, done)) }
	written, start := 0, time.Now()
	match, held := matcher(t.g, t.m.e, t.m.tok, t.eos)
	emit := func(id int32) error {
		written++
		s, stopped := text.Push(id)
		if say(s, false); stopped || match != nil && match.Done() {
			return runtime.ErrStop
		}
		return nil
	}
	var reason runtime.Stop
	if sampler := runtime.NewSampler(t.how, held, ids); t.drafts != nil {
		reason, err = t.drafts.Generate(ctx, t.session, ids[known:], n, sampler, t.eos, emit)
	} else {
		reason, err = t.session.GenerateWith(ctx, ids[known:], n, sampler, t.eos, emit)
	}
	if err == nil || errors.Is(err, context.Canceled) {
		rest, _ := text.Flush()
		say(rest, true)
	}
	said.end()
	t.turns = append(t.turns, chat.Message{Role: "assistant", Content: strings.TrimSpace(said.answer.String()), Reasoning: strings.TrimSpace(said.thought.String())})
	switch {
	case errors.Is(err, context.Canceled):
		t.e.note("(stopped)")
	case err != nil:
		return err
	case reason == runtime.StopContext:
		t.e.note("(the context is full: /reset begins anew)")
	case t.in.tty && written > 1:
		t.e.note(fmt.Sprintf("(%d tokens at %.1f a second)", written, float64(written)/time.Since(start).Seconds()))
	}
	return nil
}

// speech prints what a model thinks, between before and after, and what it answers.
type speech struct {
	out             io.Writer
	before, after   string
	thought, answer strings.Builder
}

func (s *speech) add(thought, answer string) {
	if thought != "" {
		if s.thought.Len() == 0 {
			fmt.Fprint(s.out, s.before)
		}
		s.thought.WriteString(thought)
		fmt.Fprint(s.out, thought)
	}
	if s.answer.Len() == 0 {
		if answer = strings.TrimLeft(answer, " \n"); answer != "" && s.thought.Len() > 0 {
			fmt.Fprint(s.out, s.after)
		}
	}
	s.answer.WriteString(answer)
	fmt.Fprint(s.out, answer)
}

// end closes what is open.
func (s *speech) end() {
	if s.thought.Len() > 0 && s.answer.Len() == 0 {
		fmt.Fprint(s.out, strings.TrimRight(s.after, "\n"))
	}
	fmt.Fprintln(s.out)
}

// rewind takes the sessions back to what they know of a prompt, but for its last token, and returns how much that is.
func (t *talk) rewind(ctx context.Context, ids []int32) (known int, err error) {
	sessions := []*runtime.Session{t.session}
	if t.drafts != nil {
		sessions = append(sessions, t.drafts.Draft)
	}
	known = len(ids) - 1
	for _, s := range sessions {
		known = min(known, s.Common(ids))
	}
	for _, s := range sessions {
		if !s.CanTruncate(known) {
			known = 0
		}
	}
	for _, s := range sessions {
		if known == 0 {
			s.Reset()
		} else if err := s.Truncate(ctx, known); err != nil {
			return 0, err
		}
	}
	return known, nil
}

// answerContext returns a context that the next Ctrl-C ends. It takes the signal from whoever had it: the first Ctrl-C
// of a chat must not end the program.
func answerContext(ctx context.Context) (context.Context, func()) {
	signal.Reset(os.Interrupt)
	return signal.NotifyContext(ctx, os.Interrupt)
}

// errInterrupt is Ctrl-C at the prompt.
var errInterrupt = errors.New("interrupt")

// input reads turns: from a terminal with editing and history, else line by line.
type input struct {
	f        *os.File
	tty      bool
	t        *term.Terminal
	keyboard *keyboard
	s        *bufio.Reader
}

// keyboard watches what is typed for Ctrl-C, which a terminal in raw mode gives as a byte. The line editor would end for
// good at it: it gets the keys that empty the line and enter it instead.
type keyboard struct {
	io.Reader
	io.Writer
	interrupt bool
}

// emptyLine is end of line, delete to its beginning, enter.
const emptyLine = "\x05\x15\r"

func (k *keyboard) Read(p []byte) (int, error) {
	if len(p) < len(emptyLine) {
		return 0, io.ErrShortBuffer
	}
	n, err := k.Reader.Read(p[:len(p)-len(emptyLine)+1])
	if i := slices.Index(p[:n], 3); i >= 0 {
		k.interrupt = true
		n = i + copy(p[i:], emptyLine) // what was typed after it is lost, as users expect
	}
	return n, err
}

func newInput(f *os.File) *input {
	in := &input{f: f, s: bufio.NewReader(f)}
	if in.tty = term.IsTerminal(int(f.Fd())) && term.IsTerminal(int(os.Stdout.Fd())); in.tty {
		in.keyboard = &keyboard{Reader: f, Writer: os.Stdout}
		in.t = term.NewTerminal(in.keyboard, "> ")
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			_ = in.t.SetSize(w, h) // an odd size is the terminal's affair
		}
	}
	return in
}

// line reads one turn: lines that end with a backslash and lines that were pasted go together.
func (in *input) line() (string, error) {
	var parts []string
	for {
		s, err := in.one()
		pasted := errors.Is(err, term.ErrPasteIndicator)
		if err != nil && !pasted {
			if err == io.EOF && len(parts) > 0 {
				return strings.Join(parts, "\n"), nil
			}
			return "", err
		}
		more := strings.HasSuffix(s, "\\")
		parts = append(parts, strings.TrimSuffix(s, "\\"))
		if !more && !pasted {
			return strings.Join(parts, "\n"), nil
		}
	}
}

func (in *input) one() (string, error) {
	if !in.tty {
		s, err := in.s.ReadString('\n')
		if err == io.EOF && s != "" {
			err = nil
		}
		return strings.TrimRight(s, "\r\n"), err
	}
	old, err := term.MakeRaw(int(in.f.Fd()))
	if err != nil {
		return "", err
	}
	in.t.SetBracketedPasteMode(true)
	in.keyboard.interrupt = false
	s, err := in.t.ReadLine()
	in.t.SetBracketedPasteMode(false)
	if e := term.Restore(int(in.f.Fd()), old); e != nil && err == nil {
		err = e
	}
	if in.keyboard.interrupt && err == nil {
		return "", errInterrupt
	}
	return s, err
}
