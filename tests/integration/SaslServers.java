// Kafka's own SASL servers behind a line protocol, so that tests need no broker:
//
//   user NAME PASSWORD  (both hex)             ->  ok
//   new MECHANISM                              ->  ok
//   step BYTES          (hex, "-" for none)    ->  open BYTES | complete BYTES USER EXTENSIONS | error TEXT

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.security.PrivilegedExceptionAction;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import javax.security.auth.Subject;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.NameCallback;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.auth.login.Configuration;
import javax.security.auth.login.LoginContext;
import javax.security.sasl.AuthorizeCallback;
import javax.security.sasl.Sasl;
import javax.security.sasl.SaslServer;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerExtensionsValidatorCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;
import org.apache.kafka.common.security.oauthbearer.internals.OAuthBearerSaslServer;
import org.apache.kafka.common.security.plain.PlainAuthenticateCallback;
import org.apache.kafka.common.security.plain.internals.PlainSaslServer;
import org.apache.kafka.common.security.scram.ScramCredentialCallback;
import org.apache.kafka.common.security.scram.internals.ScramFormatter;
import org.apache.kafka.common.security.scram.internals.ScramMechanism;
import org.apache.kafka.common.security.scram.internals.ScramSaslServer;
import org.apache.kafka.common.security.token.delegation.internals.DelegationTokenCredentialCallback;

public class SaslServers {
    private static final HexFormat HEX = HexFormat.of();
    private static final Map<String, String> PASSWORDS = new HashMap<>();
    private static final Map<String, String> EXTENSIONS = new TreeMap<>();

    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        SaslServer server = null;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "user" -> {
                    PASSWORDS.put(text(words[1]), text(words[2]));
                    System.out.println("ok");
                }
                case "new" -> {
                    EXTENSIONS.clear();
                    server = create(words[1]);
                    System.out.println("ok");
                }
                default -> System.out.println(step(server, words[1].equals("-") ? "" : words[1]));
            }
        }
    }

    private static String step(SaslServer server, String hex) {
        try {
            byte[] answer = server.evaluateResponse(HEX.parseHex(hex));
            String bytes = answer == null || answer.length == 0 ? "-" : HEX.formatHex(answer);
            if (!server.isComplete()) return "open " + bytes;
            return "complete " + bytes + " " + server.getAuthorizationID() + " " + EXTENSIONS;
        } catch (Exception error) {
            return "error " + error.getClass().getSimpleName() + ": " + error.getMessage();
        }
    }

    private static SaslServer create(String mechanism) throws Exception {
        return switch (mechanism) {
            case "PLAIN" -> new PlainSaslServer(SaslServers::handle);
            case "OAUTHBEARER" -> new OAuthBearerSaslServer(new Handler());
            case "GSSAPI" -> gssapi();
            default -> {
                ScramMechanism scram = ScramMechanism.forMechanismName(mechanism);
                yield new ScramSaslServer(scram, Map.of(), callbacks -> handleScram(scram, callbacks));
            }
        };
    }

    private static SaslServer gssapi() throws Exception {
        Map<String, String> options = Map.of(
            "useKeyTab", "true", "storeKey", "true", "isInitiator", "false",
            "keyTab", System.getProperty("keytab"), "principal", "kafka/localhost");
        AppConfigurationEntry entry = new AppConfigurationEntry(
            "com.sun.security.auth.module.Krb5LoginModule",
            AppConfigurationEntry.LoginModuleControlFlag.REQUIRED, options);
        Configuration configuration = new Configuration() {
            @Override
            public AppConfigurationEntry[] getAppConfigurationEntry(String name) {
                return new AppConfigurationEntry[] {entry};
            }
        };
        LoginContext login = new LoginContext("server", new Subject(), null, configuration);
        login.login();
        PrivilegedExceptionAction<SaslServer> create = () ->
            Sasl.createSaslServer("GSSAPI", "kafka", "localhost", Map.of(), SaslServers::handle);
        return Subject.doAs(login.getSubject(), create);
    }

    private static void handle(Callback[] callbacks) {
        String name = null;
        for (Callback callback : callbacks) {
            if (callback instanceof NameCallback named) {
                name = named.getDefaultName();
            } else if (callback instanceof PlainAuthenticateCallback plain) {
                String password = PASSWORDS.get(name);
                plain.authenticated(password != null && password.equals(new String(plain.password())));
            } else if (callback instanceof OAuthBearerValidatorCallback bearer) {
                if (bearer.tokenValue().startsWith("good")) bearer.token(new Token(bearer.tokenValue()));
                else bearer.error("invalid_token", "kafka", null);
            } else if (callback instanceof OAuthBearerExtensionsValidatorCallback validator) {
                EXTENSIONS.putAll(validator.inputExtensions().map());
                EXTENSIONS.keySet().forEach(validator::valid);
            } else if (callback instanceof AuthorizeCallback authorize) {
                // As the broker's own handler does: it accepts any authorization id.
                authorize.setAuthorized(true);
                authorize.setAuthorizedID(authorize.getAuthenticationID() + "," + authorize.getAuthorizationID());
            }
        }
    }

    private static void handleScram(ScramMechanism mechanism, Callback[] callbacks) {
        String name = null;
        for (Callback callback : callbacks) {
            if (callback instanceof NameCallback named) name = named.getDefaultName();
            else if (callback instanceof ScramCredentialCallback credential) {
                boolean token = credential instanceof DelegationTokenCredentialCallback;
                String password = PASSWORDS.get(token ? "token:" + name : name);
                if (token) ((DelegationTokenCredentialCallback) credential).tokenOwner("owner-of-" + name);
                if (password != null) credential.scramCredential(stored(mechanism, password));
            }
        }
    }

    private static org.apache.kafka.common.security.scram.ScramCredential stored(
            ScramMechanism mechanism, String password) {
        try {
            return new ScramFormatter(mechanism).generateCredential(password, 4096);
        } catch (java.security.NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String text(String hex) {
        return new String(HEX.parseHex(hex), StandardCharsets.UTF_8);
    }

    private static final class Handler implements AuthenticateCallbackHandler {
        public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}
        public void close() {}
        public void handle(Callback[] callbacks) { SaslServers.handle(callbacks); }
    }

    private record Token(String value) implements OAuthBearerToken {
        public Set<String> scope() { return Set.of(); }
        public long lifetimeMs() { return Long.MAX_VALUE; }
        public String principalName() { return "principal-of-" + value; }
        public Long startTimeMs() { return null; }
    }
}
