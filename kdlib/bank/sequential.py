"""One `fit` for each student: for convolutions on a CPU, where vmap is slower."""

import torch
from torch import Tensor

from kdlib.bank.group import Group, Report, Trained, Weights
from kdlib.bank.processes import each, side_by_side
from kdlib.models import convolves
from kdlib.training import Diverged, fit
from kdlib.training.settings import rates_at


def sequential(group: Group, report: Report) -> Trained:
    """Trains one student after another.

    Or side by side, as many as there are threads, where the network convolves.
    """
    settings, on_cpu = group.settings, group.examples.device.type == "cpu"
    processes = side_by_side() if on_cpu and convolves(group.build()) else 1

    @torch.random.fork_rng(devices=[])  # as if nothing had been drawn, in this process or another
    def train(i: int) -> tuple[Weights, Tensor]:
        drawn, numbers = group.start is None, {n: float(v[i]) for n, v in group.bindings.items()}
        try:
            run = fit(
                group.build if drawn else group.begun(group.seeds[i]),
                group.examples,
                group.objective.substitute(numbers),
                seed=group.seeds[i] if drawn else None,
                device=group.examples.device,
                optimizer=group.optimizer,
                **{**vars(settings), "lr": rates_at(settings.lr, numbers)},
            )
        except Diverged as told:  # one cell of many, whose answers are nan, as in other engines
            run = told.run
            for weight in run.network.parameters():
                weight.data.fill_(torch.nan)
        if run.interrupted:
            raise KeyboardInterrupt
        state = run.network.state_dict()  # with what it says of versions
        state.update({name: tensor.cpu().clone() for name, tensor in state.items()})
        done = [row["loss"] for row in run.history]
        return state, torch.tensor(done + [torch.nan] * (settings.epochs - len(done)))

    weights: list[Weights | None] = [None] * len(group.seeds)
    losses = torch.full((len(group.seeds), settings.epochs), torch.nan)
    answer = group.answer(weights)
    for i, (state, loss) in each(train, len(group.seeds), processes):
        weights[i], losses[i] = state, loss
        if not report.tell(group, answer, settings.epochs):
            break
    return Trained(weights, losses, answer)
