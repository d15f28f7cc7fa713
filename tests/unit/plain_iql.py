"""IQL's recurrent network of one agent as torch's own modules, for the tests to compare with."""

from __future__ import annotations

import torch


def cells(parameters):
    """Encoder, GRUCell and head that hold one agent's ``parameters`` (name: tensor)."""
    p = parameters
    encoder, head = torch.nn.Linear(*p["w0"].shape), torch.nn.Linear(*p["w1"].shape)
    cell = torch.nn.GRUCell(p["wi"].shape[0], p["wh"].shape[0])
    with torch.no_grad():
        for module, w, b in ((encoder, "w0", "b0"), (head, "w1", "b1")):
            module.weight.copy_(p[w].T)
            module.bias.copy_(p[b][0])
        cell.weight_ih.copy_(p["wi"].T)
        cell.weight_hh.copy_(p["wh"].T)
        cell.bias_ih.copy_(p["bi"][0])
        cell.bias_hh.copy_(p["bh"][0])
    return encoder, cell, head


def values(parameters, observations, actions):
    """Q-values [T + 1, A] along one episode: its observations [T + 1, O] and its T actions, each seen a step later."""
    encoder, cell, head = cells(parameters)
    hidden, found = torch.zeros(1, cell.hidden_size), []
    for t, observation in enumerate(observations):
        last = torch.zeros(head.out_features) if t == 0 else torch.eye(head.out_features)[actions[t - 1]]
        hidden = cell(torch.relu(encoder(torch.cat([observation, last])))[None], hidden)
        found.append(head(hidden)[0])
    return torch.stack(found)
