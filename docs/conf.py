"""How Sphinx builds these pages, offline: names of other projects stay plain text."""

from importlib.metadata import version as _version

import trio_jobs
from trio_jobs._model import options
from trio_jobs._registry import limits, opening, registry, schedules
from trio_jobs._running import hooks

for _name in trio_jobs.__all__:  # some are loaded only when they are asked for
    getattr(trio_jobs, _name)
# Names that only type checkers import, as the package loads them late, but that its annotations use.
vars(opening).update(
    Limit=trio_jobs.Limit, Schedule=trio_jobs.Schedule, Wrap=hooks.Wrap, OnEvent=hooks.OnEvent
)
vars(options).update(Debounce=trio_jobs.Debounce)
vars(registry).update(Schedules=schedules.Schedules, JobLimits=limits.JobLimits)

project = "trio_jobs"
author = "The trio_jobs authors"
copyright = f"2026, {author}"  # noqa: A001  # Sphinx asks for this name
release = version = _version("trio-jobs")

extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",  # marks async functions and context managers; comes after autodoc
]
exclude_patterns = ["_build", "ai-sdk-page/node_modules"]
default_role = "code"  # docstrings use single backticks, as Markdown does

# Of a block with prompts, the button copies the commands, and neither prompts nor what they print.
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .go"

html_theme = "furo"
html_title = "trio_jobs"
pygments_dark_style = "github-dark"  # the theme's own underlines names of modules, as if they were links

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3  # pages may link to each other's headings

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
maximum_signature_line_length = 80  # a longer one has a line for each parameter
# sphinxcontrib_trio extends these classes; with the new ones a context manager loses its "async with".
autodoc_use_legacy_class_based = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False  # the signature has it

nitpicky = True
_OTHERS = (
    "trio|hypothesis|opentelemetry|st|starlette|pathlib|random|outcome|attrs?|abc|collections|contextlib|datetime|enum|os|ssl"
    "|types|typing"
)
_UNQUALIFIED = (
    "Any|AsyncIterator|Awaitable|Callable|Iterable|Iterator|Literal|Mapping|None|Self|Sequence"
    "|bool|bytes|callable|datetime|dict|float|frozenset|int|list|object|set|str|timedelta|tuple|type"
    "|ContextVar|MockClock|Again|Handler|Missed|Options|Path|PriorityName|Random|Transition"
    "|[A-Z][A-Za-z]*(Error|Exception|ExceptionGroup|Warning)"
)
nitpick_ignore_regex = [
    # Other projects' names: there is no inventory to resolve them with, as the build is offline.
    (r"py:.*", rf"({_OTHERS})\..*"),
    # Builtins and names of the standard library and of Trio that annotations use unqualified.
    (r"py:(class|data|exc|obj)", _UNQUALIFIED),
    # An own class that is not public: what it is, is the contract it keeps.
    (r"py:class", r"trio_jobs\.stores\.sqlite\.store\.SqliteStore"),
    # Type variables have no page of their own.
    (r"py:(class|data|obj)", r"(.*\.)?([A-Z]|[A-Z][a-z]?s|[A-Z][A-Za-z]*_(co|contra))"),
]
