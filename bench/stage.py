"""Origins and peers of a run: started when a work first needs them, ended with the run or before."""

from contextlib import contextmanager

from certificates import make_certificate, make_certificates
from servers import Scene, Setting, new_peer, start_echo, start_files, start_peer

CURRENT = Setting()  # kept to the end; peers of other settings end with their work


class Stage:
    def __init__(self, directory, options):
        self.directory, self.options = directory, options
        options.programs = directory
        self.certificate = make_certificate(directory, "localhost", "bench.localhost")
        self.origins, self.peers, self.certificates = {}, {}, {}
        self.serial = 0

    def scene(self, setting):
        if setting.sites not in self.certificates and setting.sites:
            self.certificates[setting.sites] = make_certificates(self.directory / f"{setting.sites}-sites", setting.sites)
        kind = (setting.origin, setting.pinned)
        if kind not in self.origins:
            start = {"files": start_files, "echo": start_echo}[setting.origin]
            core = self.options.load_core if setting.pinned else None
            self.origins[kind] = start(self.place(), core, self.options.programs)
        certificates = self.certificates.get(setting.sites)
        origin = self.origins[kind]
        return Scene(setting, origin.plain, origin.directory / "files", self.certificate, certificates, self.options)

    def peer(self, name, setting):
        """The running peer of that name and setting."""
        if (name, setting) not in self.peers:
            self.peers[name, setting] = start_peer(name, self.place(), self.scene(setting))
        return self.peers[name, setting]

    @contextmanager
    def fresh(self, name, setting, started=True):
        """A peer for one look, which nothing was asked of before but the check; or one to be started by the caller."""
        peer = (start_peer if started else new_peer)(name, self.place(), self.scene(setting))
        try:
            yield peer
        finally:
            peer.stop()

    def end_others(self):
        for name, setting in list(self.peers):
            if setting != CURRENT:
                self.peers.pop((name, setting)).stop()

    def end(self):
        for server in [*self.peers.values(), *self.origins.values()]:
            server.stop()
        self.peers, self.origins = {}, {}

    def place(self):
        """A directory of its own for each server."""
        self.serial += 1
        return self.directory / str(self.serial)

