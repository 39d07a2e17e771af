"""The ten languages of MultiPL-E: how each is compiled and run, what it needs, and its self-test."""

from fusebench.evaluate.sandbox.box import BOX, Limits
from fusebench.evaluate.sandbox.language import Language, SelfTest

TUPLES = "/usr/share/java/javatuples.jar"
SLOW = Limits(cpu=3, wall=60, memory=2048)
_JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xmx1g")
_JAVAC = tuple(f"-J{option}" for option in _JAVA)

CPP = Language(
    name="cpp",
    title="C++",
    code="cpp",
    file="main.cpp",
    compile=("g++", "-std=c++17", "-o", "main", "main.cpp"),
    run=("./main",),
    tools=("g++",),
    packages=("g++",),
    version_command=("g++", "--version"),
    test=SelfTest(
        ok="#include <cassert>\nint main() { assert(1 + 2 == 3); }\n",
        wrong="#include <cassert>\nint main() { assert(1 + 2 == 4); }\n",
        broken="int main() { return x; }\n",
        endless="int main() { volatile int x = 0; for (;;) x = x + 1; }\n",
    ),
)
_GO_HEAD = 'package main_test\n\nimport "testing"\n\n'
_GO_PACKAGES = (
    "bytes.NewBuffer",
    "crypto/md5.New",
    "errors.New",
    "fmt.Sprint",
    "math.Sqrt",
    "math/big.NewInt",
    "math/rand.Int",
    "reflect.TypeOf",
    "regexp.Compile",
    "sort.Ints",
    "strconv.Itoa",
    "strings.Fields",
    "time.Now",
    "unicode.IsLetter",
    "unicode/utf8.RuneLen",
)
_GO_LIBRARY = "\n".join(
    [
        'package main_test\n\nimport (\n"testing"',
        *(f'"{use.rpartition(".")[0]}"' for use in _GO_PACKAGES),
        ")\nfunc TestNothing(t *testing.T) {}",
        *(f"var _ = {use.rpartition('/')[2]}" for use in _GO_PACKAGES),
        "",
    ]
)
GO = Language(
    name="go",
    title="Go",
    code="go",
    file="main_test.go",
    compile=("go", "test", "-c", "-o", "main.test", "main_test.go"),
    run=("./main.test",),
    tools=("go",),
    packages=("golang-go",),
    version_command=("go", "version"),
    environment=(
        ("GOPATH", f"{BOX}/go"),
        ("CGO_ENABLED", "0"),
        ("GOTOOLCHAIN", "local"),
        ("GOPROXY", "off"),
        ("GOFLAGS", "-vet=off"),
    ),
    cache="GOCACHE",
    warm=("go", "test", "-c", "-o", "/dev/null", "main_test.go"),
    warm_source=_GO_LIBRARY,
    test=SelfTest(
        ok=_GO_HEAD + "func TestSum(t *testing.T) { if 1+2 != 3 { t.Error() } }\n",
        wrong=_GO_HEAD + "func TestSum(t *testing.T) { if 1+2 != 4 { t.Error() } }\n",
        broken=_GO_HEAD + "func TestSum(t *testing.T) { x := 1 }\n",
        endless=_GO_HEAD + "func TestSum(t *testing.T) { for {} }\n",
    ),
)
_JAVA_TEST = (
    "import org.javatuples.*;\nclass Problem {{\n  public static void main(String[] args) {{\n"
    "    Pair<Integer, Integer> p = Pair.with(1, 2);\n    {}\n  }}\n}}\n"
)
JAVA = Language(
    name="java",
    title="Java",
    code="java",
    file="Problem.java",
    compile=("javac", *_JAVAC, "-encoding", "UTF8", "-cp", TUPLES, "-d", ".", "Problem.java"),
    start=SLOW,
    run=("java", *_JAVA, "-ea", "-cp", f"{BOX}:{TUPLES}", "Problem"),
    tools=("javac", "java"),
    packages=("default-jdk-headless", "libjavatuples-java"),
    files=(TUPLES,),
    version_command=("java", "--version"),
    test=SelfTest(
        ok=_JAVA_TEST.format("assert(p.getValue0() + p.getValue1() == 3);"),
        wrong=_JAVA_TEST.format("assert(p.getValue0() + p.getValue1() == 4);"),
        broken=_JAVA_TEST.format("int x = p;"),
        endless=_JAVA_TEST.format("for (;;) { }"),
    ),
)
JAVASCRIPT = Language(
    name="javascript",
    title="JavaScript",
    code="js",
    file="main.js",
    run=("node", "main.js"),
    tools=("node",),
    packages=("nodejs",),
    version_command=("node", "--version"),
    syntax=r"(?m)^SyntaxError:",
    test=SelfTest(
        ok="require('assert').deepEqual([1, 2].length, 2);\n",
        wrong="require('assert').deepEqual([1, 2].length, 3);\n",
        broken="function f( {\n",
        endless="while (true) {}\n",
    ),
)
_PHP_TEST = '<?php\nif (1 + 2 !== {}) {{ throw new Exception("Test failed!"); }}\n'
PHP = Language(
    name="php",
    title="PHP",
    code="php",
    file="main.php",
    run=("php", "main.php"),
    tools=("php",),
    packages=("php-cli",),
    version_command=("php", "--version"),
    syntax=r"PHP Parse error",
    test=SelfTest(
        ok=_PHP_TEST.format(3),
        wrong=_PHP_TEST.format(4),
        broken="<?php\nfunction f( {\n",
        endless="<?php\nwhile (true) {}\n",
    ),
)
PYTHON = Language(
    name="python",
    title="Python",
    code="py",
    file="main.py",
    run=("python3", "-B", "main.py"),
    tools=("python3",),
    packages=("python3",),
    version_command=("python3", "--version"),
    syntax=r"(?m)^(SyntaxError|IndentationError|TabError):",
    test=SelfTest(
        ok="assert sum([1, 2]) == 3\n",
        wrong="assert sum([1, 2]) == 4\n",
        broken="def f(:\n    pass\n",
        endless="while True:\n    pass\n",
    ),
)
R = Language(
    name="r",
    title="R",
    code="r",
    file="main.r",
    start=SLOW,
    run=("Rscript", "main.r"),
    tools=("Rscript",),
    packages=("r-base-core",),
    version_command=("Rscript", "--version"),
    syntax=r"(?m)^Error: unexpected ",
    test=SelfTest(
        ok="stopifnot(isTRUE(all.equal(1 + 2, 3)))\n",
        wrong="stopifnot(isTRUE(all.equal(1 + 2, 4)))\n",
        broken="f <- function( {\n",
        endless="while (TRUE) {}\n",
    ),
)
_RUBY_TEST = (
    "require 'test/unit'\nclass TestSum < Test::Unit::TestCase\n"
    "  def test_sum\n    assert_equal({}, 1 + 2)\n  end\nend\n"
)
RUBY = Language(
    name="ruby",
    title="Ruby",
    code="rb",
    file="main.rb",
    run=("ruby", "main.rb"),
    tools=("ruby",),
    packages=("ruby", "ruby-test-unit"),
    extra=("ruby", "-e", "require 'test/unit/version'"),
    version_command=("ruby", "--version"),
    syntax=r"syntax error",
    test=SelfTest(
        ok=_RUBY_TEST.format(3),
        wrong=_RUBY_TEST.format(4),
        broken="def f(\n  class\n",
        endless="loop do\nend\n",
    ),
)
RUST = Language(
    name="rust",
    title="Rust",
    code="rs",
    file="main.rs",
    compile=("rustc", "-C", "debuginfo=0", "-o", "main", "main.rs"),
    run=("./main",),
    tools=("rustc", "cc"),
    packages=("rustc", "gcc"),
    version_command=("rustc", "--version"),
    test=SelfTest(
        ok="fn main() { assert_eq!(1 + 2, 3); }\n",
        wrong="fn main() { assert_eq!(1 + 2, 4); }\n",
        broken='fn main() { let x: i32 = "a"; }\n',
        endless="fn main() { loop {} }\n",
    ),
)
_TS_HEAD = "declare var require: any;\nconst assert = require('node:assert');\n"
TYPESCRIPT = Language(
    name="typescript",
    title="TypeScript",
    code="ts",
    file="main.ts",
    compile=("tsc", "--target", "esnext", "main.ts"),
    run=("node", "main.js"),
    tools=("tsc", "node"),
    packages=("node-typescript", "nodejs"),
    version_command=("tsc", "--version"),
    test=SelfTest(
        ok=_TS_HEAD + "let x: number = 3;\nassert.deepEqual(1 + 2, x);\n",
        wrong=_TS_HEAD + "let x: number = 4;\nassert.deepEqual(1 + 2, x);\n",
        broken='let x: number = "a";\n',
        endless="while (true) {}\n",
    ),
)

LANGUAGES: dict[str, Language] = {
    language.name: language for language in (CPP, GO, JAVA, JAVASCRIPT, PHP, PYTHON, R, RUBY, RUST, TYPESCRIPT)
}
"""By name, in the order of the paper's columns."""
