"""Transfer: the finished run whose model a recipe is trained on (`model.after`)."""

from __future__ import annotations

from pathlib import Path

from biodist.config.catalogue import find_recipe
from biodist.config.document import read_document
from biodist.config.files import absolute, is_file, is_folder
from biodist.config.recipe import Recipe
from biodist.errors import Problem, UserError
from biodist.run.folder import RunFolder, run_root
from biodist.run.records import is_finished


def transferred(recipe: Recipe) -> Recipe:
    """The recipe with `model.after` as its run's folder, named from the root.

    A recipe's run is where `biodist train` puts it when no folder is named: below `runs/` of the current folder.
    Raises UserError where there is neither such a folder nor such a recipe, or recipes follow each other in a circle.
    """
    if recipe.model.after is None:
        return recipe
    place = _place(recipe.model.after)
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"after": str(place)})})


def finished_model(after: str) -> Path:
    """The model of a finished run. Raises UserError where the run is not finished, RunFailed where it is damaged."""
    run = RunFolder(Path(after))
    if not is_finished(run):
        state = "is not finished" if run.root.is_dir() else "is not there"
        do = "train its recipe first, or name the folder of its finished run: model.after=FOLDER"
        raise UserError(Problem(f"model.after {after}", f"the run to go on from {state}", do))
    return run.model


def _place(after: str) -> Path:
    from biodist.config.core import core_digest
    from biodist.config.loading import load_recipe

    place = absolute(after)
    if is_folder(place) or (Path(after).is_absolute() and not is_file(place)):
        return place  # of a run that has gone since, too: a recipe of long ago can still be read
    _refuse_circle(after)
    first = load_recipe(after, check_files=False)
    return run_root(first.name, core_digest(first)).absolute()


def _refuse_circle(after: str) -> None:
    seen: list[Path] = []
    following: object = after
    while isinstance(following, str) and not is_folder(absolute(following)):
        path = find_recipe(following).resolve()
        if path in seen:
            what = f"{after} leads back to {path.name}: recipes go on from each other in a circle"
            raise UserError(Problem("model.after", what, "let the first stage start from an encoder (model.name)"))
        seen.append(path)
        model = read_document(path).values.get("model")
        following = model.get("after") if isinstance(model, dict) else None
