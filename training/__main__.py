"""`python -m training`: train one of the networks, evaluate a bundle, and repeat the paper's analyses."""

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mgts_trt.bundle.recipe import load_recipe
from mgts_trt.cli.console import notice_untrained, parse_modes, progress, table
from mgts_trt.cli.console import out as console
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from training.average import average
from training.evaluation.analyses.commands import app as analyse
from training.evaluation.analyses.integration_command import integration
from training.evaluation.calibrate import calibrate
from training.evaluation.card import card
from training.evaluation.gather import gather
from training.evaluation.label import label
from training.evaluation.label_set import label_set
from training.evaluation.leaks import leaks
from training.evaluation.mine import mine
from training.options import (
    COMPOSES,
    WITH_MASKS,
    Data,
    Evaluated,
    load_crops,
    load_held_out,
    load_scenes,
    pick_device,
    steps,
)
from training.preset import Preset, load_preset

if TYPE_CHECKING:  # imported where they are needed, so that --help does not wait for PyTorch
    from training.data.scene import Scenes
    from training.loop import Step
    from training.models.reid import IDNet
    from training.tasks.task import Task

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train the networks on labelled pictures, evaluate bundles on them, and repeat the paper's analyses.",
)
analyse.command("integration")(integration)
app.add_typer(analyse, name="analyse")
app.command("average")(average)
app.command("label-set")(label_set)
app.command("gather")(gather)
app.command("label")(label)
app.command("leaks")(leaks)
app.command("card")(card)
app.command("calibrate")(calibrate)
app.command("mine")(mine)


class Part(StrEnum):
    """What is trained."""

    DETECTOR = "detector"
    MASKNET = "masknet"
    JOINT = "joint"
    REID = "reid"


class Amp(StrEnum):
    """Mixed precision."""

    OFF = "off"
    BF16 = "bf16"
    FP16 = "fp16"


class Model(StrEnum):
    """The re-ID networks."""

    MGTS = "mgts"
    IDNET = "idnet"


class Freeze(StrEnum):
    """What does not learn: conv1, conv2 and all batch statistics (paper), conv1 and conv2, the backbone, nothing."""

    AUTO = "auto"
    PAPER = "paper"
    FIRST = "first"
    BACKBONE = "backbone"
    NONE = "none"


def train_command(
    context: typer.Context,
    root: Annotated[
        Path, typer.Option(help="The dataset's folder; for composed and real, the one that holds the others.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run: weights, state, log, plot.")],
    data: Annotated[Data, typer.Option(help="Dataset.")] = Data.COMPOSED,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="Real: a further folder of photos with a boxes.json, such as of a teacher; may be repeated."),
    ] = None,
    hard: Annotated[
        Path | None,
        typer.Option(help="Real: a list of photos of nobody to show more often, as python -m training mine makes it."),
    ] = None,
    preset: Annotated[str, typer.Option(help="A preset of training/presets, or a TOML file of your own.")] = "edge",
    schedule: Annotated[
        str | None, typer.Option(help="A schedule of training/schedules, or a TOML file; by default the preset's.")
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Stretch or shrink the schedule to so many.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Instead of the schedule's.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Weights to start from: torchvision's name, efficientnet-lite0, or a file, also of a run."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    amp: Annotated[Amp, typer.Option(help="Mixed precision.")] = Amp.OFF,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on with the run in --out, or begin anew.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 0,
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes composed makes.")] = 4000,
    augment: Annotated[bool, typer.Option(help="Alter pictures at random.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Threads that make batches.")] = 2,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Iterations between checkpoints.")] = 500,
    freeze: Annotated[
        Freeze,
        typer.Option(
            help="paper: conv1, conv2 and all batch statistics; first: conv1 and conv2; backbone: the whole backbone; "
            "auto: all but re-ID as the paper where they start from a backbone."
        ),
    ] = Freeze.AUTO,
    model: Annotated[Model, typer.Option(help="Re-ID: one stream (idnet) or two.")] = Model.MGTS,
    mode: Annotated[str | None, typer.Option(help="Re-ID: net, box or none; where masks come from.")] = None,
    components: Annotated[
        str | None, typer.Option(help="Re-ID: O, F or B, with or without E, or OFE: what the network sees (Table 4).")
    ] = None,
    order: Annotated[str, typer.Option(help="Re-ID: people, scenes or identities; how batches are drawn.")] = "people",
    unlabelled: Annotated[float, typer.Option(help="Re-ID: greatest share of unlabelled people.")] = 0.5,
    box_share: Annotated[
        float, typer.Option(help="Re-ID, mode net: share of patches whose mask is the tight box nevertheless.")
    ] = 0.0,
    triplet: Annotated[
        float, typer.Option(help="Re-ID, order identities: weight of the batch-hard triplet loss beside OIM.")
    ] = 0.0,
    settle: Annotated[
        bool,
        typer.Option("--settle", help="Re-ID, from a trained network: measure its statistics and OIM's centres first."),
    ] = False,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Joint: a trained IDNet; the network learns to describe people as it does, beside OIM."),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Round layers' inputs and weights as INT8 will, so that less is lost in it.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Train one of the networks; a run that was stopped goes on where it was."""
    import torch

    part = Part(context.info_name)
    from training.checkpoint import load_backbone
    from training.loop import STATE, train
    from training.models.rounded import round_layers
    from training.schedule import load_schedule
    from training.tasks.reid import ReidTask

    if teacher is not None and part is not Part.JOINT:
        raise MgtsError(f"--teacher belongs to joint, but {part.value} is trained. Leave it away.")
    sizes = load_preset(preset)
    plan = load_schedule(schedule or ("paper" if sizes.name == "paper" else "edge"), part)
    if batch_size is not None:
        plan = plan.model_copy(update={"batch_size": batch_size})
    chosen, name = pick_device(device), model.value if part is Part.REID else part.value
    settings: dict[str, str | int | float | None] = {"data": data, "augment": augment, "backbone": backbone}
    if data in COMPOSES:
        settings["scenes"] = scenes
    if also:
        settings["also"] = ", ".join(map(str, also))
    dataset = load_scenes(data, root, length=scenes, seed=seed, also=also or (), hard=hard)
    if hard:  # by its content: the same file may have been mined anew
        settings["hard"] = hashlib.sha256(hard.read_bytes()).hexdigest()
    task: Task
    if part is Part.REID:
        own: dict[str, Any] = {"mode": mode, "components": components, "order": order, "unlabelled": unlabelled}
        own |= {"box_share": box_share, "triplet": triplet, "freeze": "none" if freeze is Freeze.AUTO else freeze.value}
        with console.status("looking for the people in the dataset"):
            reid = ReidTask(sizes, dataset, model.value, seed=seed, batch_size=plan.batch_size, augment=augment, **own)
        settings |= {**own, "settle": settle, "mode": reid.mode, "components": reid.components}
        plan, task = plan.in_iterations(reid.epoch_iterations), reid
    else:
        frozen = ("paper" if backbone else "none") if freeze is Freeze.AUTO else freeze.value
        settings["freeze"] = frozen
        own = {"seed": seed, "batch_size": plan.batch_size, "augment": augment, "freeze": frozen}
        if teacher is not None:
            own["teacher"] = _teacher(teacher, sizes)
            settings["teacher"] = hashlib.sha256(teacher.read_bytes()).hexdigest()
        task = _canvas_task(part, sizes, dataset, own)
    if iterations is not None:
        plan = plan.of_length(iterations)
    if backbone is not None:
        load_backbone(backbone, task.modules["network"])
    if settle and isinstance(task, ReidTask) and not (resume and (out / STATE).exists()):
        with console.status("looking at everybody for statistics and centres"):
            task.settle()

    if int8:  # after the backbone was read and statistics were taken, which are those of the network itself
        round_layers(task.modules["network"], load_recipe(name).of("int8").keep)
        settings["int8"] = True

    torch.backends.cudnn.benchmark = True  # every batch has the same shapes
    with progress() as bar:
        line = bar.add_task(f"training {name}", total=plan.length)

        def on_step(step: "Step") -> None:
            loss = sum(step.losses.values())
            bar.update(line, completed=step.iteration + 1, description=f"training {name}, loss {loss:.3f}")

        weights = train(
            task,
            plan,
            out,
            model=name,
            preset=sizes.name,
            device=chosen,
            amp=amp.value,
            checkpoint_every=checkpoint_every,
            seed=seed,
            settings=settings,
            workers=workers,
            fresh=not resume,
            on_step=on_step,
        )
    if weights is None:
        console.print(f"Stopped before the schedule's end. The same command goes on from {out}.")
        raise typer.Exit(130)
    console.print(f"{weights}: {name} of preset {sizes.name}, trained for {plan.length} iterations on {chosen}")
    console.print(f"Put it into a bundle: python -m export --preset {preset} --{name} {weights} --out DIR")


for _part, _help in (
    (Part.DETECTOR, "Train the detector."),
    (Part.MASKNET, "Train the mask net."),
    (Part.JOINT, "Train the network that detects and re-identifies at once (OIM)."),
    (Part.REID, "Train a re-ID network."),
):
    app.command(_part.value, help=f"{_help} A run that was stopped goes on where it was.")(train_command)


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    data: Annotated[Evaluated, typer.Option(help="Dataset; of one without a published test set, the held-out part.")],
    root: Annotated[Path, typer.Option(help="The dataset's folder.")],
    mode: Annotated[str, typer.Option(help="all, or some of none, net, box, joint with commas between them.")] = "all",
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes composed makes.")] = 400,
    gallery_size: Annotated[int, typer.Option(help="CUHK-SYSU: images a gallery, 50 … 4000.")] = 100,
    cross_camera: Annotated[bool, typer.Option("--cross-camera", help="PRW: other cameras' frames only.")] = False,
    oim_threshold: Annotated[
        bool, typer.Option("--oim-threshold", help="Search: the published code's IoU threshold, not the paper's 0.5.")
    ] = False,
    peer: Annotated[
        Path | None,
        typer.Option(help="Crops: a re-ID network of another project, as torchreid exports it, on the same people."),
    ] = None,
    json_file: JsonOption = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Measure a bundle on labelled data, through its own sessions, as the field measures it (Sec. 4.2)."""
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.runtime.modes import held_modes
    from training.evaluation import measure as run
    from training.evaluation.detector import detection
    from training.evaluation.peer import Peer, peer_reid

    opened = Bundle.open(bundle)
    modes = parse_modes(mode, held_modes(opened.manifest))
    if data is Evaluated.REID_MIX and "net" in modes:
        console.print(f"{data.value} has no masks, and without one mode net sees what box sees: measured as box.")
        modes = tuple(dict.fromkeys("box" if chosen == "net" else chosen for chosen in modes))
    rows: dict[str, dict[str, float]] = {}
    with steps() as begin:
        if crops := load_crops(data, root):
            other = Peer(peer) if peer else None
            for name, people in crops.items():
                for chosen in modes:
                    ranked = run.reid(opened, people, chosen, on_step=begin(f"{name}, {chosen}", len(people)))
                    rows[f"re-ID, {chosen}" if len(crops) == 1 else f"{name}, {chosen}"] = ranked.summary()
                if other and peer:
                    ranked = peer_reid(other, people, on_step=begin(f"{name}, {peer.stem}", len(people)))
                    rows[f"{name}, {peer.stem}"] = ranked.summary()
        elif data in (Evaluated.CUHK_SYSU, Evaluated.PRW):
            from training.data import protocols

            if data is Evaluated.CUHK_SYSU:
                queries, pictures = protocols.cuhk_sysu_queries(root, gallery_size), root / "Image" / "SSM"
            else:
                queries, pictures = protocols.prw_queries(root, cross_camera=cross_camera), root / "frames"
            for chosen in modes:
                ranked = run.person_search(
                    opened,
                    pictures,
                    queries,
                    chosen,
                    iou_threshold="oim" if oim_threshold else 0.5,
                    on_step=begin(f"searching, mode {chosen}", run.picture_count(queries)),
                )
                rows[f"search, {chosen}"] = ranked.summary()
        else:
            if peer:
                raise MgtsError(
                    f"--peer is compared on crops of people, not on {data.value}. Take market1501 or reid_mix."
                )
            held_out = load_held_out(data, root, length=scenes)
            found = detection(opened, held_out, on_step=begin("detecting", len(held_out)))
            rows["detector"] = found.summary()
            if "joint" in modes:
                jointly = detection(opened, held_out, model="joint", on_step=begin("detecting jointly", len(held_out)))
                rows["joint"] = jointly.summary()
            if data in WITH_MASKS:
                fit = run.masks(opened, held_out, on_step=begin("segmenting", len(held_out)))
                rows["masks"] = {"mask IoU": fit.mean_iou}
            for chosen in modes if held_out.identity_count else ():
                ranked = run.reid(opened, held_out, chosen, on_step=begin(f"re-ID, {chosen}", len(held_out)))
                rows[f"re-ID, {chosen}"] = ranked.summary()
    headings = list(dict.fromkeys(heading for numbers in rows.values() for heading in numbers))
    shown = table("measured", *(f">{heading}" for heading in headings), title=f"{bundle} on {data.value}")
    for name, numbers in rows.items():
        shown.add_row(name, *(f"{numbers[h]:.3f}" if h in numbers else "" for h in headings))
    console.print(shown)
    notice_untrained(opened.manifest)
    if json_file:
        write_json(json_file, json.dumps({"bundle": str(bundle), "data": data.value, "results": rows}, indent=2))


@app.command("recover")
def recover_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoints, one a network.")],
    preset: Annotated[str | None, typer.Option(help="What the bundle was made by, if a preset of your own.")] = None,
) -> None:
    """Write checkpoints from a bundle, to train on from or to export again beside a network that is better."""
    from mgts_trt.bundle.bundle import Bundle
    from training.checkpoint import save_checkpoint
    from training.recover import recover

    opened = Bundle.open(bundle)
    sizes = load_preset(preset or opened.manifest.preset)
    out.mkdir(parents=True, exist_ok=True)
    for name in opened.manifest.models:
        path = out / f"{name}.safetensors"
        save_checkpoint(path, recover(opened, name, sizes), model=name, preset=sizes.name)
        console.print(f"{path}: {name} of preset {sizes.name}, as {bundle} has it")


def _teacher(path: Path, preset: Preset) -> "IDNet":
    from training.checkpoint import load_checkpoint
    from training.models import create

    network = create(Model.IDNET.value, preset)
    load_checkpoint(path, network, model=Model.IDNET.value, preset=preset.name)
    return cast("IDNet", network)


def _canvas_task(part: Part, preset: Preset, scenes: "Scenes", options: dict[str, Any]) -> "Task":
    from training.tasks.detector import DetectorTask
    from training.tasks.joint import JointTask
    from training.tasks.masknet import MaskNetTask

    kinds = {Part.DETECTOR: DetectorTask, Part.MASKNET: MaskNetTask, Part.JOINT: JointTask}
    return kinds[part](preset, scenes, **options)


if __name__ == "__main__":
    run_app(app)
