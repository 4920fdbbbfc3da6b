/* SPDX-License-Identifier: MIT
 *
 * Pictures are drawn by the Python package. This finds a Python that has it, hands the options over, one
 * word each and through no shell, and waits.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "fail.h"
#include "stop.h"

/* What Python exits with where it has no package: the next one is tried. */
#define HAS_NONE 97
#define HAS_NONE_TEXT "97"

/* Python's own first words. The empty entry of sys.path is the folder one stands in, whose files are not ours
 * to run. A signal that asks to stop lets it remove what it has begun, and a second one does not disturb that.
 * sys.argv[1] is 1 where the user named this Python, who is then told why it will not do. */
static const char launcher[] =
    "import sys\n"
    "sys.path[:] = [p for p in sys.path if p]\n"
    "named = sys.argv.pop(1) == '1'\n"
    "import signal\n"
    "asking = signal.SIGINT, signal.SIGTERM, signal.SIGHUP\n"
    "asking = [s for s in asking if signal.getsignal(s) != signal.SIG_IGN]\n"
    "stopped = []\n"
    "def stop(number, frame):\n"
    "    stopped.append(number)\n"
    "    for each in asking:\n"
    "        signal.signal(each, signal.SIG_IGN)\n"
    "    raise KeyboardInterrupt\n"
    "try:\n"
    "    for each in asking:\n"
    "        signal.signal(each, stop)\n"
    "    import logging\n"
    "    logging.getLogger('matplotlib').setLevel(logging.ERROR)\n"
    "    from otimes.plot.__main__ import main\n"
    "except KeyboardInterrupt:\n"
    "    sys.exit(130)\n"
    "except Exception as error:\n" /* modules in C make another error of an interrupt */
    "    if stopped:\n"
    "        sys.exit(130)\n"
    "    if not named:\n"
    "        sys.exit(" HAS_NONE_TEXT ")\n"
    "    sys.exit('otimes plot: %s: expected a Python with the package "
    "otimes, got: %s; pip install '\n"
    "             '\\'otimes[plot]\\' from the root of its source' % "
    "(sys.executable, ' '.join(str(error).split())))\n"
    "sys.exit(130 if stopped else main())\n";

typedef struct options {
    common_options common;
    const char *what, *python;
    const char *layer, *head, *text, *position, *target, *array, *size;
    int64_t number, dpi; /* 0: not given */
    opt_texts select;
    int list, dark;
} options;

static const opt own[] = {
    {.name = "what",
     .argument = "NAME",
     .help = "which picture (default: the standard one of what FILE.h5 holds)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, what)},
    {.name = "list",
     .help = "say which pictures the file has and what each shows",
     .kind = OPT_FLAG,
     .offset = offsetof(options, list)},
    {.name = "layer",
     .argument = "LIST",
     .help = "layers alone, e.g. 0,3-5",
     .kind = OPT_TEXT,
     .offset = offsetof(options, layer)},
    {.name = "head",
     .argument = "LIST",
     .help = "heads alone",
     .kind = OPT_TEXT,
     .offset = offsetof(options, head)},
    {.name = "text",
     .argument = "N",
     .help =
         "which text, from 0; negative ones from the last (default: the first, or the mean of all)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, text)},
    {.name = "position",
     .argument = "N",
     .help = "which position of it; negative ones from its end (default: the last)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, position)},
    {.name = "target",
     .argument = "N",
     .help = "which target, from 0 (default: the first)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, target)},
    {.name = "array",
     .argument = "NAME",
     .help = "which array of the file, where a picture can show several",
     .kind = OPT_TEXT,
     .offset = offsetof(options, array)},
    {.name = "top",
     .argument = "K",
     .help = "how many entries of a list",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, number),
     .low = 1,
     .high = 1000000},
    {.name = "select",
     .argument = "AXIS=LABEL",
     .help = "the label to take along any axis of the file, e.g. pair='L0H2 L1H1'; may stand "
             "several times",
     .kind = OPT_TEXTS,
     .offset = offsetof(options, select)},
    {.name = "dark", .help = "light on dark", .kind = OPT_FLAG, .offset = offsetof(options, dark)},
    {.name = "dpi",
     .argument = "N",
     .help = "dots an inch of a png (default: 200)",
     .kind = OPT_NUMBER,
     .offset = offsetof(options, dpi),
     .low = 20,
     .high = 2400},
    {.name = "size",
     .argument = "WxH",
     .help = "of the picture in inches, e.g. 7x4 (default: what it needs)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, size)},
    {.name = "python",
     .argument = "PATH",
     .help = "the Python that draws (default: $OTIMES_PYTHON, python3 beside this program, "
             "python3, python)",
     .kind = OPT_TEXT,
     .offset = offsetof(options, python),
     .takes = TAKES_FILE},
    {.name = NULL},
};

/* Words of Python's command line; each is freed with the list. */
#define WORDS_MAX (OPT_TEXTS_MAX + 32)
typedef struct words {
    char *item[WORDS_MAX + 1];
    int count, failed;
} words;

static void add(words *list, const char *name, const char *value)
{
    char *word = NULL;
    if (!value || list->failed) {
        return;
    }
    if (list->count == WORDS_MAX || asprintf(&word, "%s%s", name, value) < 0) {
        list->failed = 1;
        return;
    }
    list->item[list->count++] = word;
}

static void add_number(words *list, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    add(list, name, value ? text : NULL);
}

static void words_free(words *list)
{
    for (int i = 0; i < list->count; i++) {
        free(list->item[i]);
    }
}

/* item[0] is Python itself and item[NAMED] whether the user named it; both are set for each that is tried. */
enum { NAMED = 5 };

static void python_words(const options *o, words *list)
{
    static const char *const before[NAMED + 1] = {"", "-W", "ignore", "-c", launcher, "0"};
    for (int i = 0; i <= NAMED; i++) {
        add(list, before[i], "");
    }
    add(list, "--output=", o->common.output);
    add(list, "--what=", o->what);
    add(list, "--layer=", o->layer);
    add(list, "--head=", o->head);
    add(list, "--text=", o->text);
    add(list, "--position=", o->position);
    add(list, "--target=", o->target);
    add(list, "--array=", o->array);
    add(list, "--size=", o->size);
    add_number(list, "--top=", o->number);
    add_number(list, "--dpi=", o->dpi);
    for (int i = 0; i < o->select.count; i++) {
        add(list, "--select=", o->select.item[i]);
    }
    add(list, "--list", o->list ? "" : NULL);
    add(list, "--dark", o->dark ? "" : NULL);
    add(list, "--", "");
    add(list, o->common.operand[0], "");
}

static int is_inches(const char *text)
{
    char *end;
    const double wide = strtod(text, &end);
    if (*end != 'x' || strspn(text, "0123456789.x") != strlen(text)) {
        return 0;
    }
    const double tall = strtod(end + 1, &end);
    return !*end && wide >= 1 && wide <= 100 && tall >= 1 && tall <= 100;
}

static int is_number(const char *text)
{
    const char *digits = text + (*text == '-');
    const size_t length = strlen(digits);
    return length > 0 && length < 10 && strspn(digits, "0123456789") == length;
}

static int check(const options *o, otimes_err *err)
{
    const struct {
        const char *name, *value;
    } numbers[] = {{"text", o->text}, {"position", o->position}, {"target", o->target}};
    if (o->common.format != FORMAT_DEFAULT) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--format: expected none, the end of the name says it: .png, .svg or .pdf");
    }
    if (!o->common.output && !o->list) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--output: expected a name that ends in .png, .svg or .pdf, got none");
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].value && !is_number(numbers[i].value)) {
            return fail(err, OTIMES_ERR_ARGUMENT, "--%s: expected a number, got '%s'",
                        numbers[i].name, numbers[i].value);
        }
    }
    if (o->size && !is_inches(o->size)) {
        return fail(err, OTIMES_ERR_ARGUMENT,
                    "--size: expected WIDTHxHEIGHT in inches, 1 to 100, as 7x4, got '%s'", o->size);
    }
    for (int i = 0; i < o->select.count; i++) {
        const char *equals = strchr(o->select.item[i], '=');
        if (!equals || equals == o->select.item[i]) {
            return fail(err, OTIMES_ERR_ARGUMENT, "--select: expected AXIS=LABEL, got '%s'",
                        o->select.item[i]);
        }
    }
    return 0;
}

static void wake(int signal_number)
{
    (void)signal_number; /* that it came ends the waiting */
}

/* Python's status as waitpid has it. A signal that asks to stop may have been sent to this process alone:
 * Python is told too. `open` is what is blocked while it waits. */
static int wait_for(pid_t child, const sigset_t *open)
{
    int status = -1, told = 0;
    pid_t done;
    while ((done = waitpid(child, &status, WNOHANG)) == 0) {
        if (stop_signal() && !told) {
            told = !kill(child, stop_signal());
        }
        sigsuspend(open);
    }
    return done == child ? status : -1;
}

/* Python's status as waitpid has it; -1: it cannot be started. */
static int run_python(words *list, const char *python, int named)
{
    char *argv[WORDS_MAX + 1], yes[] = "1", *name = strdup(python);
    struct sigaction ended = {.sa_handler = wake}, ended_before;
    sigset_t held, open;
    memcpy(argv, list->item, sizeof argv);
    argv[0] = name;
    argv[NAMED] = named ? yes : argv[NAMED];
    /* Held from before there is a child: none comes between a look at it and the waiting. */
    stop_signals(&held);
    sigaddset(&held, SIGCHLD);
    sigprocmask(SIG_BLOCK, &held, &open);
    sigdelset(&open, SIGCHLD);
    sigaction(SIGCHLD, &ended, &ended_before);
    const pid_t child = name ? fork() : -1;
    if (child == 0) {
        stop_uninstall();
        sigprocmask(SIG_SETMASK, &open, NULL);
        execvp(python, argv);
        _exit(HAS_NONE);
    }
    const int status = child > 0 ? wait_for(child, &open) : -1;
    sigaction(SIGCHLD, &ended_before, NULL);
    sigprocmask(SIG_SETMASK, &open, NULL);
    free(name);
    return status;
}

static int has_none(int status)
{
    return status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == HAS_NONE;
}

/* What came of it; COMMAND_DIFFERS: Python has said what is wrong. */
static int judge(const options *o, int status, otimes_err *err)
{
    const char *file = o->common.operand[0];
    if (status == -1) {
        return fail_errno(err, "Python", "cannot be started");
    }
    if (stop_signal() && !(WIFEXITED(status) && !WEXITSTATUS(status))) { /* else it was too late */
        return fail(err, OTIMES_ERR_CANCELLED, "stopped by signal %d, nothing was written",
                    stop_signal());
    }
    if (WIFEXITED(status) && WEXITSTATUS(status)) {
        return COMMAND_DIFFERS;
    }
    if (WIFEXITED(status)) { /* some programs succeed whatever they are told */
        return o->list || !access(o->common.output, F_OK)
                   ? 0
                   : fail(err, OTIMES_ERR_IO, "%s: was not written: is it Python that draws?",
                          o->common.output);
    }
    const int by = WTERMSIG(status);
    if (by == SIGKILL) {
        return fail(err, OTIMES_ERR_MEMORY,
                    "%s: Python was killed, perhaps for memory; choose a part of the file", file);
    }
    return fail(err, OTIMES_ERR_IO, "%s: damaged: Python fails on it with signal %d", file, by);
}

/* "<folder of this program>/python3", or an empty text. */
static void beside_program(char *path, size_t size)
{
    const ssize_t length = readlink("/proc/self/exe", path, size - sizeof "python3");
    char *slash = length > 0 ? memrchr(path, '/', (size_t)length) : NULL;
    *path = '\0';
    if (slash) {
        strcpy(slash + 1, "python3");
        *path = '/';
    }
}

/* The first Python that has the package draws; its status, or the last one's where none has. */
static int find_and_run(words *list, const char *named)
{
    char beside[4096];
    beside_program(beside, sizeof beside);
    const char *const candidates[] = {beside, "python3", "python"};
    if (named) {
        return run_python(list, named, 1);
    }
    int status = -1;
    for (size_t i = access(beside, X_OK) ? 1 : 0; i < sizeof candidates / sizeof *candidates; i++) {
        status = run_python(list, candidates[i], 0);
        if (!has_none(status) || stop_signal()) {
            break;
        }
    }
    return status;
}

static int act(const otimes_model *model, const void *memory, const char *line, otimes_err *err)
{
    const options *o = memory;
    words list = {.count = 0};
    const char *told = getenv("OTIMES_PYTHON"), *named = o->python       ? o->python
                                                         : told && *told ? told
                                                                         : NULL;
    (void)model, (void)line;
    int rc = check(o, err);
    if (rc) {
        return rc;
    }
    python_words(o, &list);
    if (list.failed) {
        words_free(&list);
        return fail_memory(err, "options");
    }
    fflush(stdout);
    const int status = find_and_run(&list, named);
    words_free(&list);
    if (has_none(status) && named) {
        return fail(err, OTIMES_ERR_IO, "%s: cannot be run as Python", named);
    }
    if (has_none(status)) {
        return fail(
            err, OTIMES_ERR_IO,
            "no Python with the package otimes: expected one of $OTIMES_PYTHON, python3 beside "
            "the program, python3 and python in PATH; pip install 'otimes[plot]' from the "
            "source's root (or --python PATH)");
    }
    return judge(o, status, err);
}

const command command_plot = {
    .name = "plot",
    .group = "Pictures",
    .summary = "the standard picture of a result, as png, svg or pdf",
    .about = "Draws the standard picture of what a command wrote: heat maps of heads, spectra, "
             "tables of tokens, "
             "waterfalls, patterns. --list says which a file has. It is the Python package that "
             "draws, with Matplotlib. "
             "Equal results give equal files.",
    .example = "otimes plot heads.h5 --what eigenvalues -o heads.svg",
    .operands = {.min = 1,
                 .max = 1,
                 .usage = "FILE.h5",
                 .about = "\nFILE.h5 is what a command of otimes wrote.\n",
                 .takes = TAKES_RESULT},
    .own = own,
    .size = sizeof(options),
    .no_weights = 1,
    .act = act,
};
