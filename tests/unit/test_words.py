"""Docstrings, comments, messages and documents use the words of docs/style.md."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest
from syntax_trees import tree_of
from tables import every

ROOT = Path(__file__).parents[2]
CODE = sorted(path for folder in ("slurmsky", "bench", "tests") for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted(
    path
    for path in (*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "tests").rglob("README.md"))
    if path.name not in ("style.md", "CHANGELOG.md")
)
#: tables, grammars and shell scripts: read line by line, because their texts are quoted, too
OTHERS = sorted(
    path
    for pattern in ("slurmsky/**/*.csv", "slurmsky/**/*.toml", "slurmsky/**/*.lark", "bin/slurmsky", "scripts/*",
                    "examples/sbatch/*.sh", "tests/rig/*.sh", "Dockerfile", "action.yml", "mkdocs.yml")
    for path in ROOT.glob(pattern)
)  # fmt: skip
LISTED = re.compile(
    r"\b(?:(?:is|are|was|be|been) told|tells|told|looked at|looks at|whoever|somebody|nobody|what became of|settles?|"
    r"heeds?|heeded|has the say|goes away|of its own accord|things|moved by|are alike|"
    r"anew|in vain|for good|(?:is|was|are|were|be) given up|flag says|by itself|"
    r"go(?:es)? on|(?:is|are|was|were|be|been)(?: not)? asked|proved|whatever|wherever|whichever|again and again|"
    r"time and again|once more|lies in|runs? on unseen|as ever|long over|made to order|dealt|"
    r"hand(?:s|ed)? out|waits without an end|travels?|gone with|left alone|so long as|of all things|of theirs|its kin|"
    r"get rid of|kept nodes?|judged?|told as|heard of|in its own words|oneself|by the hundred|of one's own|so many|"
    r"(?:is|are) over(?=\s*[,;:.)]|\s+(?:and|or|has)\b|\s*$)|stands? in for|anybody|anyone|held to|makes way|bears?|"
    r"came up|vanish(?:es|ed)?|gives? back|takes? place|falls? silent|"
    r"(?:do|does) not go with|goes? without|say more|says? nothing|does not say|lies outside|wants an?|comes? back|"
    r"within reach|leaves? out|(?:takes?|took) the place of)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"``.*?``|`[^`]*`|\"[^\"\n]*\"")


def prose(path: Path) -> str:
    """Comments and docstrings of a module, or a page; without code in backticks and quoted texts."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        if not LISTED.search(re.sub(r"\s*\n[\s#:]*", " ", text)):
            return ""  # quicker than to read the tokens of every module
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        text = "\n".join(
            token.string.strip('"#: ')
            for token in tokens
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.string.startswith('"""'))
        )
    else:
        text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", _QUOTED.sub("", text))  # a sentence may be on several lines


def messages(path: Path) -> list[str]:
    """Texts of a module with a listed word, without what is quoted in them."""
    source = path.read_text(encoding="utf-8")
    if not LISTED.search(re.sub(r'"\s*\n\s*f?"', "", source)):
        return []
    texts = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return [text for text in texts if isinstance(text, str) and " " in text and LISTED.search(_QUOTED.sub("", text))]


@every("path", [*CODE, *PAGES], lambda path: path.relative_to(ROOT).as_posix())
def test_no_word_to_replace(path: Path) -> None:
    assert LISTED.findall(prose(path)) == []


@every("path", OTHERS, lambda path: path.relative_to(ROOT).as_posix())
def test_no_word_to_replace_in_tables_and_scripts(path: Path) -> None:
    lines = (re.sub(r"\"[^\" ]*\"", "", line) for line in path.read_text(encoding="utf-8").splitlines())
    assert [line for line in lines if LISTED.search(line)] == []


def test_no_word_to_replace_in_messages() -> None:
    assert [(path.name, text) for path in (ROOT / "slurmsky").rglob("*.py") for text in messages(path)] == []


def test_no_word_to_replace_in_names() -> None:
    named = re.compile(
        r"(?:^|_)(?:told|asked|tells?|whoever|somebody|nobody|heeds?|settles?|anew|things?|wish|desk|said|fates?|facts?|lament|poke)(?:_|$)"
    )
    pattern = re.compile(r"\b(?:def|class|for|as|lambda) (\w+)|\b(\w+)(?:: [^=\n]+)? = |[(,] ?(\w+): ")
    texts = {path: path.read_text(encoding="utf-8") for path in CODE}
    found = {
        f"{path.relative_to(ROOT)} {name}"
        for path, text in texts.items()
        if re.search(
            "told|asked|tell|ever|body|heed|settle|anew|thing|wish|desk|said|fate|fact|lament|poke", text, re.IGNORECASE
        )
        for names in pattern.findall(text)
        for name in names
        if not ("asked" in name and "translate" in path.parts)
        and named.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    }
    assert found == set()


#: words of a tale in names of tests: a name states the behaviour, such as round_trip, is_reported, is_unreachable
_TALE = re.compile(
    r"_(?:(?:comes?|came)_back|(?:un)?heard|hears?|doors?|(?:is|are)_not_there|there_(?:is|are)_not|(?:is|are)_away|"
    r"gives?_up|cannot_be_had|ones_own|at_once|as_none|travel|takes?_along|says_(?:so|why)|last_words)(?:_|$)"
)


def test_no_word_to_replace_in_names_of_tests() -> None:
    names = [
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert [name for name in names if LISTED.search(name.replace("_", " ")) or _TALE.search(name)] == []


@pytest.mark.parametrize(
    "text",
    ["The agent is told.", "what became of the job", "Whoever asks", "these things", "computed anew", "whatever it is"],
)
def test_listed_words_are_found(text: str) -> None:
    assert LISTED.search(text)


#: words of a docstring's first sentence at most, and the share of first sentences with more than ten words
MOST_WORDS, MOST_LONG = 15, 0.176


def test_first_sentences_are_short() -> None:
    """docs/style.md asks for about ten words; the share of longer ones may only fall."""
    defined = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [
        (path, re.split(r"(?<=[.;]) |\n", text)[0])
        for path in sorted((ROOT / "slurmsky").rglob("*.py"))
        for node in ast.walk(tree_of(path))
        if isinstance(node, defined) and (text := ast.get_docstring(node))
    ]
    assert [(path.name, text) for path, text in texts if len(text.split()) > MOST_WORDS] == []
    assert sum(len(text.split()) > 10 for _, text in texts) / len(texts) < MOST_LONG


def test_a_docstring_begins_with_a_subject_or_a_verb() -> None:
    """A first line names what the object is or does; an indirect question leaves its noun to the reader."""
    question = re.compile(r"(?:What|Which|Who|Where|When|Why|How)\b")
    marked = re.compile(rf'"""{question.pattern}')  # quicker than to parse every module
    paths = [path for path in (ROOT / "slurmsky").rglob("*.py") if marked.search(path.read_text())]
    defined = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [
        f"{path.relative_to(ROOT)}: {text.partition(chr(10))[0]}"
        for path in paths
        for node in ast.walk(tree_of(path))
        if isinstance(node, defined) and (text := ast.get_docstring(node)) and question.match(text)
    ]
    assert found == []


#: an explanation that refers to a noun which it does not name
_WITHOUT_NOUN = re.compile(
    r"``[^`]+``:\s+(?:of|they|it|those|that|which|as|in|by|with|for|above|below|on|to|are|is|from|at)\b"
    r"|\b(?:True|False|None|0\.0): (?:it|they|those|that|of) (?!=)|\b(?:is|are) (?:that|those) of\b"
)


def test_explanations_name_their_noun() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in (ROOT / "slurmsky").rglob("*.py")
        for text in _WITHOUT_NOUN.findall(re.sub(r"\n\s*(?:#:? )?", " ", path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "lacks_noun"),
    [
        ("``pids``: by rank", True),
        ("``base``: its size", False),
        ("Return a node; None: it is lost", True),
        ("The errors are those of sbatch", True),
        ("a node with those of its users", False),
    ],
)
def test_explanations_without_a_noun_are_found(text: str, lacks_noun: bool) -> None:
    assert bool(_WITHOUT_NOUN.search(text)) == lacks_noun
