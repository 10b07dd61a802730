import java.util.List;
import java.util.Map;
import org.opensearch.common.settings.Settings;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.index.mapper.MapperExtrasPlugin;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** An OpenSearch of one node in a folder, which says its port and lives as long as its standard input. */
class Opensearchd extends Node {
    Opensearchd(Settings settings) {
        super(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "tidegate"),
            List.of(Netty4Plugin.class, MapperExtrasPlugin.class),
            false
        );
    }

    public static void main(String[] folder) throws Exception {
        Settings settings = Settings.builder()
            .put("path.home", folder[0])
            .put("cluster.name", "tidegate")
            .put("discovery.type", "single-node")
            .put("http.host", "127.0.0.1")
            .put("http.port", "0")
            .put("transport.host", "127.0.0.1")
            .put("transport.port", "0")
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        try (Opensearchd node = new Opensearchd(settings)) {
            node.start();
            HttpServerTransport http = node.injector().getInstance(HttpServerTransport.class);
            System.out.println(http.boundAddress().publishAddress().getPort());
            while (System.in.read() >= 0) {}
        }
        System.exit(0);
    }
}
